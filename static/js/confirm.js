// Questions before an act (details.act) behave like dialogs: one at a time, Escape closes, focus
// returns. Without scripts they open and close all the same.

const OPEN = "details.act[open]";

function close(question) {
  question.open = false;
  question.querySelector("summary").focus();
}

document.addEventListener(
  "toggle",
  (event) => {
    if (!event.target.matches?.(OPEN)) return;
    for (const other of document.querySelectorAll(OPEN)) {
      if (other !== event.target && !other.contains(event.target)) other.open = false;
    }
  },
  true, // toggle does not bubble
);

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.defaultPrevented || event.isComposing) return;
  const open = [...document.querySelectorAll(OPEN)];
  if (!open.length) return;
  const mine = open.filter((question) => question.contains(document.activeElement));
  event.preventDefault();
  close((mine.length ? mine : open).at(-1));
});
