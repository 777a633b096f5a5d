// Follows a running task: asks the server what has changed since the last answer and puts it in
// place. It holds no words of its own (the page brings them) and stops when the task has ended.

const live = document.getElementById("live");
const QUICK = 1500;
const SLOW = 15000;
let wait = QUICK;
let timer = 0;

function say(state) {
  live.dataset.state = state;
  const words = live.dataset[state] ?? "";
  if (live.textContent !== words) live.textContent = words;
}

// The same thing drawn twice may differ in its CSRF token; what counts carries a version then.
function signature(element) {
  const versioned = element.matches("[data-version]") ? element : element.querySelector("[data-version]");
  return versioned ? versioned.dataset.version : element.outerHTML;
}

// Replaces the old children that differ, each found by its id, so that focus, selection and scroll
// position elsewhere stay where they are.
function patchKeyed(old, fresh) {
  const keyed = [...fresh.querySelectorAll("[id]")].filter((element) => element.matches("tr, section"));
  const same =
    keyed.length > 0 &&
    keyed.every((element) => old.querySelector(`#${CSS.escape(element.id)}`)) &&
    old.querySelectorAll("tr[id], section[id]").length === keyed.length;
  if (!same) return false;
  for (const element of keyed) {
    const current = old.querySelector(`#${CSS.escape(element.id)}`);
    if (current.outerHTML !== element.outerHTML) swap(current, element);
  }
  return true;
}

function swap(current, element) {
  const positions = new Map();
  for (const box of current.querySelectorAll("pre[id]")) {
    const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 8;
    positions.set(box.id, atEnd ? Infinity : box.scrollTop);
  }
  current.replaceWith(element);
  for (const [id, top] of positions) {
    const box = document.getElementById(id);
    if (box) box.scrollTop = top === Infinity ? box.scrollHeight : top;
  }
}

function place(id, html) {
  const old = document.getElementById(id);
  if (!old) return;
  const fresh = old.cloneNode(false);
  fresh.innerHTML = html;
  if (old.dataset.html === html || (id === "task-acts" && signature(old) === signature(fresh))) return;
  if (!("keyed" in old.dataset) || !patchKeyed(old, fresh)) old.replaceChildren(...fresh.childNodes);
}

async function ask() {
  const url = new URL(live.dataset.url, location.href);
  for (const [name, value] of new URLSearchParams(location.search)) url.searchParams.set(name, value);
  url.searchParams.set("cursor", live.dataset.cursor);
  url.searchParams.set("revision", live.dataset.revision);
  const stop = AbortSignal.timeout(10000);
  const response = await fetch(url, { headers: { Accept: "application/json" }, redirect: "manual", signal: stop });
  if (response.type === "opaqueredirect") return "out";
  if (!response.ok) throw new Error(String(response.status));
  const answer = await response.json();
  for (const [id, html] of Object.entries(answer.parts)) place(id, html);
  live.dataset.cursor = answer.cursor;
  live.dataset.revision = answer.revision;
  return answer.ended ? "ended" : "on";
}

async function tick() {
  let state;
  try {
    state = await ask();
    wait = QUICK;
  } catch {
    state = "lost";
    wait = Math.min(wait * 2, SLOW);
  }
  say(state);
  if (state === "on" || state === "lost") timer = setTimeout(tick, document.hidden ? SLOW : wait);
}

if (live) {
  say("on");
  timer = setTimeout(tick, QUICK);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && (live.dataset.state === "on" || live.dataset.state === "lost")) {
      clearTimeout(timer);
      timer = setTimeout(tick, 100);
    }
  });
}
