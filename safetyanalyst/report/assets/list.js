// The list: search, filters, order, and only as many rows in the document as can be seen.
(function (SA) {
  "use strict";
  const { h, byId } = SA;
  const ROW = 62; // pixels, as in page.css

  class List {
    constructor(app) {
      this.app = app;
      this.order = [];
      this.position = new Map(); // scenario -> place in the order
      this.pool = [];
      this.box = byId("rows");
      this.spacer = byId("spacer");
      this.pickers = {};
      this.addPickers();
      byId("search").addEventListener("input", () => this.refresh(true));
      byId("clear").addEventListener("click", () => this.clear());
      byId("filters").addEventListener("submit", (event) => event.preventDefault());
      this.top = 0; // where the list is scrolled to and how high it is: asking the document while it changes would lay it out
      this.height = this.box.clientHeight;
      this.box.addEventListener("scroll", () => this.scrolled(), { passive: true });
      this.box.addEventListener("keydown", (event) => this.key(event));
      this.box.addEventListener("click", (event) => this.click(event));
      new ResizeObserver(() => this.resized()).observe(this.box);
    }

    scrolled() {
      this.top = this.box.scrollTop;
      this.draw();
    }

    resized() {
      this.height = this.box.clientHeight;
      this.scrolled();
    }

    scrollTo(top) {
      this.box.scrollTop = top;
      this.top = this.box.scrollTop;
    }

    addPickers() {
      const { corpus } = this.app;
      const labels = new Set(corpus.columns.label);
      const sources = Array.from(new Set(corpus.columns.source)).map((it) => corpus.strings[it]).sort();
      this.addPicker("decision", "Decision", [["", "any decision"], ["0", "allow"], ["1", "review"], ["2", "block"]]);
      this.addPicker("flipped", "Flipped", this.flipChoices());
      this.addPicker("group", "Action group", [["", "any action group"], ...corpus.taxonomy.groups]);
      if (sources.length > 1) this.addPicker("source", "Source", [["", "any source"], ...sources.map((it) => [`=${it}`, it])]);
      if (labels.has(0) || labels.has(1)) {
        this.addPicker("label", "Label", [
          ["", "any label"], ["1", "harmful"], ["0", "harmless"], ["2", "no label"],
          ["missed", "harmful, yet allowed"], ["alarm", "harmless, yet blocked"],
        ]);
      }
      this.addPicker("defects", "Defects", [
        ["", "with or without defects"], ["some", "has defects"], ["none", "no defects"], ["range", "something is missing"],
        ["unread", "could not be read"],
      ]);
      this.addPicker("sort", "Order", [
        ["near", "nearest to the threshold"], ["far", "farthest from it"], ["score", "highest score"], ["file", "as in the file"],
      ]);
    }

    flipChoices() {
      const choices = [["", "flipped or not"], ["any", "flipped"]];
      for (const from of [0, 1, 2]) {
        for (const to of [0, 1, 2]) {
          if (from !== to) choices.push([`${from}${to}`, `${SA.DECISIONS[from]} to ${SA.DECISIONS[to]}`]);
        }
      }
      return choices;
    }

    addPicker(name, label, choices) {
      const select = h("select", { "aria-label": label, name, change: () => this.refresh(true) });
      for (const [value, text] of choices) select.append(h("option", { value, text }));
      this.pickers[name] = select;
      byId("pickers").append(select);
    }

    wanted(name) { return this.pickers[name] ? this.pickers[name].value : ""; }

    pick(name, value) {
      this.pickers[name].value = value;
      this.refresh(true);
    }

    clear() {
      byId("search").value = "";
      for (const [name, select] of Object.entries(this.pickers)) if (name !== "sort") select.value = "";
      this.refresh(true);
    }

    // One test per filter that is set, cheapest first.
    tests() {
      const { app } = this;
      const { corpus, model } = app;
      const { columns } = corpus;
      const tests = [];
      const decision = this.wanted("decision");
      if (decision !== "") tests.push((i) => model.decision[i] === Number(decision));
      const flipped = this.wanted("flipped");
      if (flipped === "any") tests.push((i) => model.decision[i] !== app.baseline[i]);
      else if (flipped !== "") tests.push((i) => app.baseline[i] === Number(flipped[0]) && model.decision[i] === Number(flipped[1]));
      const source = this.wanted("source");
      if (source !== "") tests.push((i) => corpus.source(i) === source.slice(1));
      const label = this.wanted("label");
      if (label === "missed") tests.push((i) => columns.label[i] === 1 && model.decision[i] === SA.ALLOW);
      else if (label === "alarm") tests.push((i) => columns.label[i] === 0 && model.decision[i] === SA.BLOCK);
      else if (label !== "") tests.push((i) => columns.label[i] === Number(label));
      tests.push(...this.defectTests(this.wanted("defects")));
      const group = this.wanted("group");
      if (group !== "") tests.push((i) => corpus.hasGroup(i, group));
      const terms = byId("search").value.toLowerCase().split(/\s+/).filter((it) => it !== "");
      if (terms.length) tests.push((i) => terms.every((term) => corpus.haystack(i).includes(term)));
      return tests;
    }

    defectTests(wanted) {
      const { corpus, model } = this.app;
      const has = (i) => corpus.columns.defects[i] > 0 || !corpus.isRead(i);
      const tests = {
        some: has, none: (i) => !has(i), range: (i) => model.low[i] !== model.high[i], unread: (i) => !corpus.isRead(i),
      };
      return wanted === "" ? [] : [tests[wanted]];
    }

    // Filters and orders again. A filter that was just changed starts from the top; a slider's move leaves the place alone.
    refresh(fromTop = false) {
      const tests = this.tests();
      const found = [];
      for (let i = 0; i < this.app.corpus.n; i++) if (tests.every((test) => test(i))) found.push(i);
      this.sort(found);
      this.order = found;
      this.position.clear();
      found.forEach((i, at) => this.position.set(i, at));
      this.spacer.style.height = `${found.length * ROW}px`;
      const total = this.app.corpus.n;
      const text = found.length === total ? SA.plural(total, "scenario") : `${found.length.toLocaleString("en")} of ${SA.plural(total, "scenario")}`;
      if (byId("found").textContent !== text) byId("found").textContent = text;
      byId("clear").hidden = found.length === total;
      if (fromTop) this.scrollTo(0);
      this.draw();
    }

    sort(found) {
      const { model, edits } = this.app;
      const how = this.wanted("sort");
      if (how === "file") return;
      const keys = new Float64Array(this.app.corpus.n);
      for (const i of found) {
        const margin = model.margin(i, edits.now);
        keys[i] = how === "near" ? Math.abs(margin) : how === "far" ? -Math.abs(margin) : -scoreKey(model.low[i], model.high[i]);
      }
      found.sort((a, b) => keys[a] - keys[b] || a - b);
    }

    draw() {
      const first = Math.max(0, Math.floor(this.top / ROW) - 2);
      const seen = Math.ceil(this.height / ROW) + 5;
      while (this.pool.length < seen) this.pool.push(this.newRow());
      this.pool.forEach((row, at) => {
        const place = first + at;
        row.element.hidden = at >= seen || place >= this.order.length;
        if (!row.element.hidden) this.fill(row, place);
      });
      const selected = this.position.get(this.app.selected);
      const isDrawn = selected !== undefined && selected >= first && selected < first + seen;
      if (isDrawn) this.box.setAttribute("aria-activedescendant", `row-${selected}`);
      else this.box.removeAttribute("aria-activedescendant");
    }

    newRow() {
      const parts = { head: h("div", { class: "row-head" }), line: h("div", { class: "row-line", dir: "auto" }) };
      parts.element = h("div", { class: "row", role: "option" }, parts.head, parts.line);
      this.spacer.append(parts.element);
      return parts;
    }

    fill(row, place) {
      const { app } = this;
      const i = this.order[place];
      const { element } = row;
      const isFlipped = app.model.decision[i] !== app.baseline[i];
      element.id = `row-${place}`;
      element.dataset.scenario = i;
      element.style.transform = `translateY(${place * ROW}px)`;
      element.setAttribute("aria-posinset", place + 1);
      element.setAttribute("aria-setsize", this.order.length);
      element.setAttribute("aria-selected", i === app.selected);
      element.classList.toggle("flipped", isFlipped);
      const badges = isFlipped ? [SA.badge(app.baseline[i], " before"), h("span", { class: "arrow", text: "→" })] : [];
      const score = app.corpus.isRead(i) ? SA.compact([app.model.low[i], app.model.high[i]]) : "not read";
      row.head.replaceChildren(
        ...badges, SA.badge(app.model.decision[i]), SA.words("span", app.corpus.id(i), "row-id"), h("span", { class: "row-score", text: score }),
      );
      row.line.textContent = app.gist(i);
    }

    click(event) {
      const row = event.target.closest(".row");
      if (row) this.app.select(Number(row.dataset.scenario), true);
    }

    key(event) {
      const page = Math.max(1, Math.floor(this.height / ROW) - 1);
      const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
      if (event.key === "Enter") this.app.show("detail", true);
      else if (event.key in moves && !event.ctrlKey && !event.metaKey) this.move(moves[event.key]);
      else return;
      event.preventDefault();
    }

    // Selects another row, counted from the one that is selected.
    move(by) {
      if (this.order.length === 0) return;
      const at = this.position.get(this.app.selected) ?? (by > 0 ? -1 : this.order.length);
      const next = Math.min(Math.max(at + by, 0), this.order.length - 1);
      this.app.select(this.order[next], false);
      this.reveal(next);
    }

    reveal(place) {
      const top = place * ROW;
      if (top < this.top) this.scrollTo(top);
      else if (top + ROW > this.top + this.height) this.scrollTo(top + ROW - this.height);
      this.draw();
    }
  }

  // Where an interval stands among scores: unbounded ones first, because they could be anything.
  function scoreKey(low, high) { return high === Infinity ? 1e300 : low === -Infinity ? high : (low + high) / 2; }

  SA.List = List;
})(globalThis.SA);
