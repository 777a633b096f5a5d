// Keeps an open page true: asks the server for the page again and puts what differs in place. Only
// elements with `data-live` are touched, each found by its id; what the answer leaves out stays.
// Nodes that are the same stay the same nodes, so that focus, selected text, open details, ticked
// boxes, half-typed fields and scroll positions survive. It holds no words of its own: the page
// brings them. Nothing is asked while the tab is hidden, or when nothing can change any more.

const line = document.getElementById("follow");
const words = document.getElementById("live");
const asOf = document.getElementById("as-of");
const LONGEST = 30000;
const PATIENCE = 20000;
// A viewer takes at most a quarter of a server's process, however long an answer takes.
const SHARE = 3;
let wait = 0;
let timer = 0;
let asking = false;

// --- putting an answer in place ---

const TYPED = new Set(["INPUT", "TEXTAREA", "SELECT"]);

function keyOf(node) {
  return node.nodeType === Node.ELEMENT_NODE ? node.id || node.getAttribute("data-key") || "" : "";
}

function alike(one, other) {
  if (one.nodeType !== other.nodeType || one.nodeName !== other.nodeName) return false;
  if (keyOf(one) !== keyOf(other)) return false;
  return one.nodeName !== "INPUT" || (one.type === other.type && one.name === other.name);
}

function isTouched(field) {
  if (field === document.activeElement) return true;
  if (field.type === "checkbox" || field.type === "radio") return field.checked !== field.defaultChecked;
  if (field.nodeName === "SELECT") return [...field.options].some((option) => option.selected !== option.defaultSelected);
  return field.type !== "hidden" && field.value !== field.defaultValue;
}

// Replaces only the middle that differs: a selection in the rest of the text stays.
function patchText(old, fresh) {
  const before = old.data;
  const after = fresh.data;
  if (before === after) return;
  const shorter = Math.min(before.length, after.length);
  let start = 0;
  while (start < shorter && before[start] === after[start]) start += 1;
  let end = 0;
  while (end < shorter - start && before[before.length - 1 - end] === after[after.length - 1 - end]) end += 1;
  old.replaceData(start, before.length - start - end, after.slice(start, after.length - end));
}

function patchAttributes(old, fresh) {
  // Whether a question is open is the reader's affair.
  const kept = (name) => name === "open" && old.nodeName === "DETAILS";
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !kept(name)) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value && !kept(name)) old.setAttribute(name, value);
  }
}

function patch(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    patchText(old, fresh);
  } else if (old.hasAttribute("data-ticked")) {
    return; // confirm.js writes there what is ticked
  } else if (!old.isEqualNode(fresh) && !(TYPED.has(old.nodeName) && isTouched(old))) {
    patchAttributes(old, fresh);
    patchChildren(old, fresh);
  }
}

function move(parent, node, before) {
  // moveBefore keeps focus and scroll positions in what is moved; older browsers lack it.
  if (parent.moveBefore) parent.moveBefore(node, before);
  else parent.insertBefore(node, before);
}

function findAlike(from, wanted) {
  for (let node = from; node; node = node.nextSibling) if (alike(node, wanted)) return node;
  return null;
}

function patchChildren(old, fresh) {
  const wantedKeys = new Set([...fresh.childNodes].map(keyOf));
  for (const child of [...old.childNodes]) {
    if (keyOf(child) && !wantedKeys.has(keyOf(child))) child.remove();
  }
  let at = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const match = findAlike(at, wanted);
    if (!match) {
      old.insertBefore(document.importNode(wanted, true), at);
      continue;
    }
    if (match === at) at = at.nextSibling;
    else move(old, match, at);
    patch(match, wanted);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

// Boxes that scroll: where each stands; null: at its end, where it goes on following.
function scrolled(region) {
  return [...region.querySelectorAll("pre, .table, .choices")].map((box) => {
    const atEnd = box.nodeName === "PRE" && box.scrollHeight - box.scrollTop - box.clientHeight < 8;
    return [box, atEnd ? null : box.scrollTop, box.scrollLeft];
  });
}

function place(region, fresh) {
  if (region.isEqualNode(fresh)) return;
  const focused = region.contains(document.activeElement) ? document.activeElement : null;
  const boxes = scrolled(region);
  patch(region, fresh);
  for (const [box, top, left] of boxes) {
    const wanted = top ?? box.scrollHeight;
    if (box.scrollTop !== wanted) box.scrollTop = wanted;
    if (box.scrollLeft !== left) box.scrollLeft = left;
  }
  if (focused && !focused.isConnected) {
    // What had the focus is gone; the keyboard goes on from here, not from the top of the page.
    region.tabIndex = -1;
    region.focus({ preventScroll: true });
  }
}

function placeAll(answer) {
  for (const fresh of answer.querySelectorAll("[data-live]")) {
    const region = document.getElementById(fresh.id);
    if (region) place(region, fresh);
  }
  document.dispatchEvent(new Event("follow:placed"));
  // After a new sign-in in another tab, forms that were open before must still be taken.
  const token = answer.querySelector("input[name=csrfmiddlewaretoken]");
  for (const field of document.getElementsByName("csrfmiddlewaretoken")) {
    if (token) field.value = token.value;
  }
}

// --- asking ---

function say(state) {
  line.dataset.state = state;
  const said = (line.dataset[state] ?? "").replace("{time}", asOf.dataset.time);
  if (words.textContent !== said) words.textContent = said;
  asOf.hidden = state !== "on";
  document.getElementById("live-sign-in").hidden = state !== "out";
}

async function ask() {
  const begun = performance.now();
  const response = await fetch(line.dataset.url, {
    headers: { "X-Live": `${line.dataset.cursor}/${line.dataset.revision}` },
    redirect: "manual",
    cache: "no-store",
    signal: AbortSignal.timeout(PATIENCE),
  });
  if (response.type === "opaqueredirect") return "out";
  if (response.status === 403 || response.status === 404) return "gone";
  if (!response.ok) throw new Error(String(response.status));
  const answer = new DOMParser().parseFromString(await response.text(), "text/html");
  const following = answer.getElementById("follow");
  if (!following) return "gone";
  placeAll(answer);
  for (const name of ["cursor", "revision", "every"]) line.dataset[name] = following.dataset[name];
  const fresh = answer.getElementById("as-of");
  asOf.textContent = fresh.textContent;
  asOf.dataset.time = fresh.dataset.time;
  const every = Number(line.dataset.every);
  wait = Math.min(Math.max(every, SHARE * (performance.now() - begun)), LONGEST);
  return every ? "on" : "ended";
}

async function tick() {
  clearTimeout(timer);
  if (asking || document.hidden) return;
  asking = true;
  let state;
  try {
    state = await ask();
  } catch {
    state = "lost";
    wait = Math.min(wait * 2, LONGEST);
  }
  asking = false;
  say(state);
  if (state === "on" || state === "lost") timer = setTimeout(tick, wait);
}

if (line) {
  wait = Number(line.dataset.every);
  say(wait ? "on" : "ended");
  if (wait) timer = setTimeout(tick, wait);
  const again = () => {
    if (line.dataset.state !== "ended") tick();
  };
  document.addEventListener("visibilitychange", again);
  window.addEventListener("online", again);
  window.addEventListener("pageshow", (event) => event.persisted && again());
}
