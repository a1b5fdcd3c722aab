// The policy file with the edits made here. What was not edited stays as Python wrote it; numbers keep every digit.
(function (SA) {
  "use strict";

  // Shortest text that reads back to the same number, in the form that YAML 1.1 takes for a float: a dot, a signed exponent.
  function float(value) {
    const [mantissa, exponent] = String(value).split("e");
    const dotted = mantissa.includes(".") ? mantissa : `${mantissa}.0`;
    if (exponent === undefined) return dotted;
    return `${dotted}e${/^[+-]/.test(exponent) ? exponent : `+${exponent}`}`;
  }

  // A double-quoted scalar; whatever a reader of YAML refuses, or a person cannot see, is written as its number.
  function quoted(text) {
    const body = text.replace(/["\\]|[\p{C}\p{Zl}\p{Zp}\u0085\ufeff]/gu, (c) => {
      const code = c.codePointAt(0);
      if (c === '"' || c === "\\") return `\\${c}`;
      if (c === "\n") return "\\n";
      if (/\p{Cs}/u.test(c)) return "\\ufffd"; // half a character, which no file can hold
      const hex = code.toString(16);
      return code > 0xffff ? `\\U${hex.padStart(8, "0")}` : `\\u${hex.padStart(4, "0")}`;
    });
    return `"${body}"`;
  }

  function key(name) {
    const isWord = /^[A-Za-z][A-Za-z0-9_]*$/.test(name) && !/^(y|n|yes|no|on|off|true|false|null)$/i.test(name);
    return isWord ? name : quoted(name);
  }

  // Weights as nested mappings, in the order of the file.
  function weights(values) {
    const root = new Map();
    for (const [name, value] of Object.entries(values)) {
      const parts = name.split("/");
      let place = root;
      for (const part of parts.slice(0, -1)) {
        if (!place.has(part)) place.set(part, new Map());
        place = place.get(part);
      }
      place.set(parts[parts.length - 1], value);
    }
    return `weights:\n${nested(root, 1)}`;
  }

  function nested(map, depth) {
    const indent = "  ".repeat(depth);
    let text = "";
    for (const [name, value] of map) {
      text += value instanceof Map ? `${indent}${key(name)}:\n${nested(value, depth + 1)}` : `${indent}${key(name)}: ${float(value)}\n`;
    }
    return text;
  }

  function editItems(edits, author, date) {
    let text = "";
    for (const k of edits.changed().filter((it) => it !== "on_missing")) {
      text += `- weight: ${quoted(edits.nameOf(k))}\n  from: ${float(edits.baseValue(k))}\n  to: ${float(edits.value(k))}\n`;
      text += `  reason: ${quoted(edits.reason(k))}\n  author: ${quoted(author)}\n  date: '${date}'\n`;
    }
    return text;
  }

  // Edits of the file are of numbers; why the word was changed stands in a comment above it.
  function onMissing(edits, author, date) {
    const { on_missing } = edits.now;
    const by = author === "" ? "" : `, ${quoted(author)}`;
    const note = `# ${edits.base.on_missing} -> ${on_missing} (${date}${by}): ${quoted(edits.reason("on_missing"))}\n`;
    return `${edits.isChanged("on_missing") ? note : ""}on_missing: ${on_missing}\n`;
  }

  function policyYaml(raw, edits, author, today) {
    const last = raw.edits.length ? raw.edits[raw.edits.length - 1].date : today;
    const date = last > today ? last : today; // edits are in the order of their dates, whatever this clock says
    const values = { ...raw.weights };
    edits.names.forEach((name, k) => { values[name] = edits.now.levels[k]; });
    const items = editItems(edits, author, date);
    const { now } = edits;
    const written = {
      weights: () => weights(values),
      threshold: () => `threshold: ${float(now.threshold)}\n`,
      review_band: () => `review_band:\n  below: ${float(now.below)}\n  above: ${float(now.above)}\n`,
      on_missing: () => onMissing(edits, author, date),
      edits: (text) => (items === "" ? text : (raw.edits.length ? text : "edits:\n") + items),
    };
    return raw.document.map(([name, text]) => (written[name] ? written[name](text) : text)).join("");
  }

  SA.policyYaml = policyYaml;
  SA.yamlFloat = float;
  SA.yamlString = quoted;
})(globalThis.SA);
