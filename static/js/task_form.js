// The form of a task: its preview is never stale, and what is half written is not lost by accident.
// htmx replaces the form now and then, so everything is listened for on the document.

const SETTLE = 300;
const AGAIN = 15000;
const PATIENCE = 15000;
let latest = 0;
let timer = 0;
let unsaved = false;
let shown = "";

const form = () => document.getElementById("task-form");

// --- the preview ---

// What decides which hosts a task runs on; the rest of the form does not matter here.
function targetOf(data) {
  const wanted = /^(all|hosts|groups|tags|exclude_\w+|steps|s\d+-host|csrfmiddlewaretoken)$/;
  const target = new URLSearchParams();
  for (const [name, value] of data) if (wanted.test(name) && typeof value === "string") target.append(name, value);
  return target;
}

function withoutToken(target) {
  const rest = new URLSearchParams(target);
  rest.delete("csrfmiddlewaretoken");
  return rest.toString();
}

// The old answer goes at once: hosts that are shown are those of the target that stands there.
function blank(words) {
  const note = document.createElement("p");
  note.className = "muted";
  note.textContent = words;
  document.getElementById("preview").replaceChildren(note);
}

async function lookUp() {
  clearTimeout(timer);
  latest += 1;
  const mine = latest;
  const target = targetOf(new FormData(form()));
  let next = AGAIN;
  try {
    const response = await fetch(form().dataset.preview, {
      method: "POST", body: target, redirect: "manual", signal: AbortSignal.timeout(PATIENCE),
    });
    if (!response.ok) throw new Error(String(response.status));
    const html = await response.text();
    // Only the answer to the last question counts, and only if it is still the question.
    if (mine !== latest || withoutToken(targetOf(new FormData(form()))) !== withoutToken(target)) {
      if (mine === latest) followTarget();
      return;
    }
    document.getElementById("preview").innerHTML = html;
    shown = withoutToken(target);
  } catch {
    if (mine !== latest) return;
    blank(document.getElementById("preview").dataset.lost);
    shown = "";
    next = AGAIN / 3;
  }
  if (!document.hidden) timer = setTimeout(lookUp, next);
}

function followTarget() {
  if (!form()) return;
  const now = withoutToken(targetOf(new FormData(form())));
  if (now === shown) return;
  shown = now;
  latest += 1; // whatever is under way answers an older question
  blank(document.getElementById("preview").dataset.looking);
  clearTimeout(timer);
  timer = setTimeout(lookUp, SETTLE);
}

// --- what is typed ---

function touch(event) {
  if (!event.target.closest?.("#task-form")) return;
  unsaved = true;
  followTarget();
}

document.addEventListener("input", touch);
document.addEventListener("change", touch);
document.addEventListener("submit", (event) => {
  if (event.target === form()) unsaved = false;
});
window.addEventListener("beforeunload", (event) => {
  if (unsaved) event.preventDefault();
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(timer);
  else if (form()) lookUp();
});

// --- the parts of the form that the server draws ---

document.addEventListener("htmx:afterSettle", () => {
  if (!form()) return;
  if (!document.getElementById("preview").childElementCount) shown = "";
  followTarget();
});

function notSent(event) {
  const button = event.detail.elt;
  const status = event.detail.xhr?.status;
  if (button.matches("#task-form button") && (status === 401 || status === 403)) {
    // The plain way: the server keeps what was sent, asks for the sign-in, and gives it back.
    button.removeAttribute("hx-post");
    form().requestSubmit(button);
    return;
  }
  const note = document.getElementById("not-sent");
  note.hidden = false;
  note.scrollIntoView({ block: "nearest" });
}

document.addEventListener("htmx:responseError", notSent);
document.addEventListener("htmx:sendError", notSent);
document.addEventListener("htmx:timeout", notSent);

if (form()) {
  unsaved = form().dataset.unsaved === "yes";
  followTarget();
}
