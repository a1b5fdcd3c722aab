// Elements are made of text and attributes, never of markup: what comes from scenarios and models cannot become anything else.
(function (SA) {
  "use strict";

  function put(element, options, children) {
    for (const [name, value] of Object.entries(options)) {
      if (value === undefined || value === null || value === false) continue;
      if (typeof value === "function") element.addEventListener(name, value);
      else if (name === "text") element.textContent = value;
      else element.setAttribute(name, value === true ? "" : String(value));
    }
    element.append(...children.filter((it) => it !== null && it !== undefined));
    return element;
  }

  // h("p", { class: "x", text: "...", click: f }, child, ...)
  function h(tag, options = {}, ...children) { return put(document.createElement(tag), options, children); }

  function svg(tag, options = {}, ...children) {
    return put(document.createElementNS("http://www.w3.org/2000/svg", tag), options, children);
  }

  // Words of unknown origin: their direction is their own and cannot spill into what stands beside them.
  function words(tag, text, className) { return h(tag, { class: className, text, dir: "auto" }); }

  function number(value, digits = 3) {
    if (value === Infinity) return "unbounded";
    if (value === -Infinity) return "-unbounded";
    const text = value.toFixed(digits);
    return Number(text) === 0 ? text.replace("-", "") : text;
  }

  function signed([low, high]) {
    const one = (value) => (Number(number(value)) > 0 ? "+" : "") + number(value);
    if (low === -Infinity) return high === Infinity ? "unbounded" : `at most ${one(high)}`;
    if (high === Infinity) return `at least ${one(low)}`;
    return low === high ? one(low) : `${one(low)} to ${one(high)}`;
  }

  function span([low, high]) {
    if (low === high) return number(low);
    const least = Number.isFinite(low) ? number(low) : "no lower bound";
    const most = Number.isFinite(high) ? number(high) : "no upper bound";
    return low === -Infinity && high === Infinity ? "unbounded" : `${least} to ${most}`;
  }

  // The same in few characters, for a row of the list.
  function compact([low, high]) {
    if (low === high) return number(low);
    if (low === -Infinity) return high === Infinity ? "unbounded" : `≤ ${number(high)}`;
    return high === Infinity ? `≥ ${number(low)}` : `${number(low)} … ${number(high)}`;
  }

  // "harm/action/child_harm" -> "child harm"
  function plainName(name) { return name.split("/").pop().replaceAll("_", " "); }

  function plural(n, word) { return `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`; }

  function badge(code, note = "") {
    const name = SA.DECISIONS[code];
    return h("span", { class: `badge ${name}${note}`, text: name });
  }

  function byId(id) { return document.getElementById(id); }

  let waiting = 0;
  // Tells a screen reader, after a pause: while a slider moves only the last word counts.
  function announce(say) {
    clearTimeout(waiting);
    waiting = setTimeout(() => { byId("announce").textContent = say(); }, 350);
  }

  Object.assign(SA, { h, svg, words, number, signed, span, compact, plainName, plural, badge, byId, announce });
})(globalThis.SA);
