// One account and its kill switch. The switch never pretends: what was asked is shown as asked until the kernel answers,
// and when it does not, the way that needs no kernel is named.

const ANSWER_MS = 6000;
const SURE_MS = 4000;

// What the button does and says; a resume takes a second click, a halt does not.
export function face({ halted, ended, asked, sure }) {
  if (ended) return { verb: "", label: ended };
  if (asked) return { verb: "", label: asked === "halt" ? "halting …" : "resuming …" };
  if (!halted) return { verb: "halt", label: "HALT" };
  return { verb: "resume", label: sure ? "resume: click again" : "resume" };
}

export function silence(account) {
  return `the kernel does not answer (it may be busy with a cell): \`kit halt ${account}\` in a terminal halts without it`;
}

class Panel {
  constructor(model, el) {
    this.model = model;
    this.asked = "";
    this.sure = false;
    el.classList.add("kit-account");
    el.innerHTML = `
      <div class="kit-account-bar"><button type="button" class="kit-account-switch"></button>
      <span class="kit-account-note" role="status"></span></div><div class="kit-account-picture"></div>`;
    this.button = el.querySelector("button");
    this.note = el.querySelector(".kit-account-note");
    this.picture = el.querySelector(".kit-account-picture");
    this.button.addEventListener("click", () => this.click());
    this.onAnswer = () => { this.asked = ""; clearTimeout(this.timer); this.draw(); };
    this.onChange = () => this.draw();
    model.on("change:answered", this.onAnswer);
    for (const name of ["picture", "halted", "note", "ended"]) model.on(`change:${name}`, this.onChange);
    this.draw();
  }

  get face() {
    return face({ halted: this.model.get("halted"), ended: this.model.get("ended"), asked: this.asked, sure: this.sure });
  }

  click() {
    const { verb } = this.face;
    if (!verb) return;
    clearTimeout(this.timer);
    if (verb === "resume" && !this.sure) {
      this.sure = true;
      this.timer = setTimeout(() => { this.sure = false; this.draw(); }, SURE_MS);
    } else {
      this.sure = false;
      this.asked = verb;
      this.model.send({ verb });
      this.timer = setTimeout(() => { this.asked = ""; this.draw(silence(this.model.get("account"))); }, ANSWER_MS);
    }
    this.draw();
  }

  draw(note = this.model.get("note")) {
    const { verb, label } = this.face;
    this.button.textContent = label;
    this.button.disabled = !verb;
    this.button.dataset.verb = verb;
    this.note.textContent = note;
    this.picture.innerHTML = this.model.get("picture");
  }

  end() {
    clearTimeout(this.timer);
    this.model.off("change:answered", this.onAnswer);
    for (const name of ["picture", "halted", "note", "ended"]) this.model.off(`change:${name}`, this.onChange);
  }
}

export default {
  render({ model, el }) {
    const panel = new Panel(model, el);
    return () => panel.end();
  },
};
