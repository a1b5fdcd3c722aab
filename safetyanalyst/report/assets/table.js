// The same trees as a table: for screen readers, for copying, for those who like rows.
(function (SA) {
  "use strict";
  const { h, words } = SA;
  const HEADS = ["", "Contribution", "Stakeholder", "Action", "Effect", "Steps"];

  class EffectTable {
    constructor(app, openSteps) {
      this.app = app;
      this.openSteps = openSteps;
      this.box = h("div", { class: "scroller", tabindex: "0", role: "region", "aria-label": "Effects as a table" });
    }

    show(trees) {
      this.cells = [];
      const body = h("tbody");
      for (const tree of trees) {
        for (const holder of tree.stakeholders) {
          for (const action of holder.actions) {
            action.effects.forEach((effect) => body.append(this.row(tree.kind, holder, action, effect)));
          }
        }
      }
      const head = h("tr", {}, ...HEADS.map((text) => h("th", { scope: "col", text, class: text === "Contribution" ? "figure" : null })));
      const caption = h("caption", { class: "unseen", text: "Every effect with its contribution to the score" });
      this.box.replaceChildren(h("table", { class: "effects" }, caption, h("thead", {}, head), body));
      this.update();
    }

    row(kind, holder, action, effect) {
      const value = h("td", { class: `figure ${kind}` });
      this.cells.push({ value, effect: effect.index });
      const steps = h("td", {}, ...action.steps.map((step) =>
        h("button", { type: "button", class: "step-link", text: String(step), "aria-label": `step ${step}`, click: () => this.openSteps([step]) })));
      const what = h("td", {}, words("span", action.name || (action.words ? "" : "?")), action.words ? words("i", action.words) : null);
      return h("tr", {},
        h("td", { class: kind, text: kind }), value, words("td", holder.name), what,
        h("td", {}, words("span", effect.name || "?"), words("i", SA.howOf(effect))), steps);
    }

    update() {
      const { model } = this.app;
      for (const { value, effect } of this.cells ?? []) {
        value.textContent = model.isCounted(effect) ? SA.signed(model.contribution(effect)) : "not counted";
      }
    }
  }

  SA.EffectTable = EffectTable;
})(globalThis.SA);
