// The harm tree and the benefit tree of one scenario, drawn: d3-hierarchy lays out, lines lie in an SVG, labels are elements that
// can be reached by keyboard (one stop for Tab, arrows inside, as in any tree). Drawn once per scenario; a slider only changes
// widths, colours and numbers.
(function (SA) {
  "use strict";
  const { h, svg } = SA;
  const LEAF = 34; // pixels from leaf to leaf
  const HEADING = 26;
  const ACTION = 34; // where actions begin
  const NARROW = 520;

  class Drawing {
    constructor(app, openSteps) {
      this.app = app;
      this.openSteps = openSteps;
      this.box = h("div", { class: "drawing", role: "tree", "aria-label": "Harm and benefit trees; arrow keys move inside" });
      this.box.addEventListener("keydown", (event) => this.key(event));
      this.box.addEventListener("focusin", (event) => this.focused(event.target));
      new ResizeObserver(() => this.resized()).observe(this.box);
    }

    resized() {
      const { clientWidth } = this.box;
      if (this.trees && clientWidth > 0 && clientWidth !== this.drawnWidth) this.draw();
    }

    show(trees) {
      this.trees = trees;
      this.nodes = undefined; // what is drawn is of another scenario; out of sight, it is drawn when it comes into sight
      this.drawnWidth = 0;
      if (this.box.clientWidth > 0) this.draw();
    }

    draw() {
      this.drawnWidth = this.box.clientWidth;
      this.nodes = [];
      const lines = svg("svg", { class: "lines", "aria-hidden": "true" });
      const labels = [];
      let top = 4;
      for (const tree of this.trees) {
        const root = d3.hierarchy(asData(tree));
        top = (this.drawnWidth < NARROW ? indented : fans)(root, top, this.drawnWidth) + 14;
        root.eachBefore((node) => labels.push(this.label(node)));
        root.links().forEach((link) => lines.append(this.line(link)));
      }
      lines.setAttribute("width", this.drawnWidth);
      lines.setAttribute("height", top);
      this.box.style.height = `${top}px`;
      this.box.classList.toggle("indented", this.drawnWidth < NARROW);
      this.box.replaceChildren(lines, ...labels);
      if (this.nodes.length) this.nodes[0].element.tabIndex = 0;
      this.update();
    }

    label(node) {
      const { data } = node;
      const element = h("div", { class: `node ${data.level} ${data.kind}`, role: "treeitem", tabindex: "-1", "aria-level": node.depth + 1 });
      if (node.children) element.setAttribute("aria-expanded", "true");
      Object.assign(element.style, { left: `${node.left}px`, top: `${node.middle - node.height / 2}px`, width: `${node.room}px`, height: `${node.height}px` });
      const name = h("span", { class: "name" }, SA.words("b", data.name), data.words ? SA.words("i", data.words) : null);
      element.append(name);
      if (data.steps && data.steps.length) element.append(this.stepButtons(data));
      const value = h("span", { class: "value" });
      const bar = data.level === "effect" ? h("span", { class: "bar" }, h("span", { class: "sure" }), h("span", { class: "doubt" })) : null;
      element.append(...[bar, value].filter((it) => it !== null));
      if (data.action !== undefined) element.dataset.action = data.action;
      node.mark = { element, value, bar, node };
      this.nodes.push(node.mark);
      return element;
    }

    stepButtons(data) {
      const box = h("span", { class: "steps" });
      for (const step of data.steps) {
        const open = (event) => { event.stopPropagation(); this.openSteps([step]); };
        box.append(h("button", { type: "button", class: "step-link", tabindex: "-1", text: `step ${step}`, click: open }));
      }
      return box;
    }

    line(link) {
      const path = svg("path", { class: `link ${link.target.data.kind}`, d: link.target.path });
      link.target.mark.path = path;
      return path;
    }

    // Bars, numbers and the width of the lines, from the values of the effects as they stand.
    update() {
      if (!this.nodes) return;
      const { model } = this.app;
      for (const mark of this.nodes.slice().reverse()) mark.span = sumOf(mark.node, model); // children come before parents
      const leaves = this.nodes.filter((mark) => mark.bar);
      const most = Math.max(1e-12, ...leaves.map((mark) => size(mark.span)));
      const whole = Math.max(1e-12, ...this.nodes.filter((mark) => mark.node.depth === 1).map((mark) => size(mark.span)));
      for (const mark of this.nodes) this.updateOne(mark, most, whole);
    }

    updateOne({ element, value, bar, path, span, node }, most, whole) {
      const { data } = node;
      const isCounted = data.level !== "effect" || this.app.model.isCounted(data.effect);
      const text = data.isMissing ? "" : isCounted ? SA.signed(span) : "not counted";
      value.textContent = text;
      element.classList.toggle("nothing", data.level === "effect" && size(span) === 0);
      const steps = data.steps && data.steps.length ? `, steps ${data.steps.join(", ")}` : "";
      element.setAttribute("aria-label", `${data.said}${steps}: ${text || "missing"}`);
      element.title = `${data.said}${steps}: ${text || "missing"}`;
      if (bar) {
        const least = Math.min(Math.abs(span[0]), Math.abs(span[1]));
        bar.firstChild.style.width = `${(100 * least) / most}%`;
        bar.lastChild.style.width = `${(100 * (size(span) - least)) / most}%`;
      }
      if (path) {
        const share = Math.min(1, size(span) / whole);
        path.style.strokeWidth = `${1 + 5 * share}px`;
        path.style.strokeOpacity = `${0.28 + 0.5 * Math.sqrt(Math.min(1, size(span) / most))}`;
      }
    }

    focused(target) {
      const element = target.closest("[role=treeitem]");
      if (!element) return;
      for (const mark of this.nodes) mark.element.tabIndex = mark.element === element ? 0 : -1;
    }

    key(event) {
      const at = this.nodes.findIndex((mark) => mark.element === document.activeElement);
      if (at < 0) return;
      const { node } = this.nodes[at];
      const to = {
        ArrowDown: () => this.nodes[at + 1], ArrowUp: () => this.nodes[at - 1], Home: () => this.nodes[0],
        End: () => this.nodes[this.nodes.length - 1], ArrowLeft: () => node.parent?.mark, ArrowRight: () => node.children?.[0].mark,
      }[event.key];
      if (to) to()?.element.focus();
      else if (event.key === "Enter" && node.data.steps?.length) this.openSteps(node.data.steps);
      else return;
      event.preventDefault();
      event.stopPropagation();
    }

    focusAction(action) {
      const mark = this.nodes?.find((it) => it.node.data.action === action);
      if (!mark) return;
      mark.element.focus();
      mark.element.scrollIntoView({ block: "center" });
    }
  }

  // A tree as nested data, with what is said of every node.
  function asData(tree) {
    const word = tree.kind === "harm" ? "Harms" : "Benefits";
    const children = tree.stakeholders.map((holder) => ({
      level: "stakeholder", kind: tree.kind, name: holder.name, said: holder.name,
      children: holder.actions.map((action) => actionData(action, tree.kind)),
    }));
    const words = tree.lost < 0 ? "the tree is missing" : tree.lost > 0 ? `${SA.plural(tree.lost, "part")} could not be read` : children.length ? "" : "nobody named";
    return { level: "kind", kind: tree.kind, name: word, words, said: words ? `${word}, ${words}` : word, isMissing: tree.lost < 0, lost: tree.lost, children };
  }

  function actionData(action, kind) {
    const name = action.name || action.words || "an action that could not be read";
    const words = action.name ? action.words : "";
    return {
      level: "action", kind, name, words, said: words ? `${name}, ${words}` : name, steps: action.steps, action: action.index,
      children: action.effects.map((effect) => {
        const how = SA.howOf(effect);
        return { level: "effect", kind, name: effect.name || "an unknown effect", words: how, said: `${effect.name || "an unknown effect"}, ${how}`, effect: effect.index };
      }),
    };
  }

  function sumOf(node, model) {
    if (node.data.effect !== undefined) return model.contribution(node.data.effect);
    const spans = (node.children ?? []).map((child) => child.mark.span);
    const span = [SA.fsum(spans.map((it) => it[0])), SA.fsum(spans.map((it) => it[1]))];
    if (node.data.lost && node.data.kind === "harm" && model.hasHarm) span[1] = Infinity;
    if (node.data.lost && node.data.kind === "benefit" && model.hasBenefit) span[0] = -Infinity;
    return span;
  }

  function size([low, high]) { return Math.max(Math.abs(low), Math.abs(high)); }

  // Kind and stakeholder as headings down the left; each action beside the fan of its effects. Returns where the drawing ends.
  function fans(root, top, width) {
    const split = ACTION + Math.floor(0.36 * (width - ACTION));
    const heading = (node, left) => {
      Object.assign(node, { left, room: width - left, height: HEADING, middle: top + HEADING / 2 });
      top += HEADING + 4;
    };
    heading(root, 0);
    for (const holder of root.children ?? []) {
      heading(holder, 16);
      if (!holder.children) continue;
      d3.tree().nodeSize([LEAF, 1]).separation(apart)(holder);
      const leaves = holder.leaves();
      const shift = top - leaves[0].x + LEAF / 2 + extra(leaves[0].parent) * LEAF;
      for (const action of holder.children) {
        const spread = action.children[action.children.length - 1].x - action.children[0].x;
        Object.assign(action, { left: ACTION, room: split - ACTION - 34, height: Math.min(80, Math.max(roomFor(action), spread + LEAF - 2)), middle: action.x + shift });
      }
      for (const leaf of leaves) Object.assign(leaf, { left: split, room: width - split, height: LEAF - 2, middle: leaf.x + shift });
      top = leaves[leaves.length - 1].x + shift + LEAF / 2 + extra(leaves[leaves.length - 1].parent) * LEAF + 8;
    }
    root.links().forEach(({ source, target }) => { target.path = target.depth === 3 ? curve(source, target) : elbow(source, target) + stem(target); });
    return top;
  }

  // What the words of an action take, and how many leaves are lacking on each side to make that room.
  function roomFor({ data }) { return 32 + (data.words ? 14 : 0) + (data.steps.length ? 18 : 0); }
  function extra(action) { return Math.max(0, roomFor(action) - action.children.length * LEAF) / LEAF / 2; }

  // Leaves of one action lie close; actions stand apart.
  function apart(a, b) {
    if (a.parent === b.parent || a.depth < 3 || b.depth < 3) return 1;
    return 1.2 + extra(a.parent) + extra(b.parent);
  }

  function curve(source, target) {
    const from = source.left + source.room - 2;
    const to = target.left - 5;
    const half = (from + to) / 2;
    return `M${from},${source.middle}C${half},${source.middle} ${half},${target.middle} ${to},${target.middle}`;
  }

  // From the words of an action to its fan; the words lie above it.
  function stem(node) {
    return node.depth === 2 ? `M${node.left + 4},${node.middle}H${node.left + node.room - 2}` : "";
  }

  function elbow(source, target) {
    const x = source.left + 5;
    return `M${x},${source.middle + Math.min(12, source.height / 2)}V${target.middle - 5}Q${x},${target.middle} ${x + 5},${target.middle}H${target.left - 4}`;
  }

  // Below one another, each level further in: for narrow screens.
  function indented(root, top, width) {
    const step = 16;
    let at = top;
    root.eachBefore((node) => {
      node.left = node.depth * step;
      node.room = width - node.left;
      node.height = node.data.level === "effect" ? 48 : node.data.steps?.length || node.data.words ? 42 : 28;
      node.middle = at + node.height / 2;
      at += node.height + 2;
    });
    root.links().forEach(({ source, target }) => { target.path = elbow(source, target); });
    return at;
  }

  SA.Drawing = Drawing;
  SA.howOf = (effect) => [effect.extent, effect.likelihood && `${effect.likelihood} likelihood`, effect.immediacy].map((it) => it || "?").join(", ");
})(globalThis.SA);
