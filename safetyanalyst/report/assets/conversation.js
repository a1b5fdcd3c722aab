// The scenario's text as a conversation, when it was joined; steps that an action rests on are marked and lead back to it.
(function (SA) {
  "use strict";
  const { h, words } = SA;

  // Step -> the actions that rest on it.
  function evidence(trees) {
    const found = new Map();
    for (const tree of trees) {
      for (const holder of tree.stakeholders) {
        for (const action of holder.actions) {
          for (const step of action.steps) {
            if (!found.has(step)) found.set(step, []);
            found.get(step).push({ kind: tree.kind, holder, action });
          }
        }
      }
    }
    return found;
  }

  function links(behind, openAction) {
    const box = h("div", { class: "behind" });
    for (const { kind, holder, action } of behind) {
      const text = `${action.name || action.words || "an unread action"} (${holder.name})`;
      box.append(h("button", { type: "button", class: `action-link ${kind}`, dir: "auto", text, click: () => openAction(action.index) }));
    }
    return box;
  }

  function message(it, behind, isFirst, openAction) {
    const isEvidence = behind !== undefined;
    const number = it.step < 0 ? "" : `step ${it.step}`;
    const head = h("div", { class: "speaker" }, words("b", it.role), h("span", { class: "step-number", text: number }));
    const article = h("article", { class: `message ${it.role.split(":")[0]}${isEvidence ? " evidence" : ""}`, tabindex: "-1" }, head, words("div", it.text, "said"));
    if (isEvidence) head.append(h("span", { class: "mark", text: "evidence" }));
    if (isEvidence && isFirst) article.append(links(behind, openAction));
    if (it.step >= 0) article.dataset.step = it.step;
    return article;
  }

  // The conversation of scenario i; without its text, the steps that are named, alone.
  function conversation(corpus, i, trees, openAction) {
    const behind = evidence(trees);
    const messages = corpus.messages(i);
    const seen = new Set();
    if (messages.length > 0) {
      const shown = messages.map((it) => {
        const isFirst = !seen.has(it.step);
        seen.add(it.step);
        return message(it, behind.get(it.step), isFirst, openAction);
      });
      return h("div", { class: "conversation" }, ...shown);
    }
    if (behind.size === 0) return h("p", { class: "quiet", text: "The text is not in this report, and no action names a step. Join it with --scenarios." });
    const steps = Array.from(behind.keys()).sort((a, b) => a - b);
    const shown = steps.map((step) => message({ role: "assistant", step, text: "The text is not in this report." }, behind.get(step), true, openAction));
    return h("div", { class: "conversation" }, ...shown);
  }

  SA.conversation = conversation;
})(globalThis.SA);
