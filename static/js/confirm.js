// Questions before an act (details.act) behave like dialogs: one at a time, Escape closes, focus
// returns. Without scripts they open and close all the same.

const OPEN = "details.act[open]";
const NAMED = 5;

// Says of what is ticked in the same form how many there are and which.
function nameTicked(form) {
  const ticked = [...form.querySelectorAll("input[data-name]:checked")].map((box) => box.dataset.name);
  const shown = ticked.slice(0, NAMED).join(", ") + (ticked.length > NAMED ? ", …" : "");
  for (const place of form.querySelectorAll("[data-ticked]")) {
    place.textContent = ticked.length ? `${shown} (${ticked.length})` : "0";
  }
}

function close(question) {
  question.open = false;
  question.querySelector("summary").focus();
}

document.addEventListener(
  "toggle",
  (event) => {
    if (!event.target.matches?.(OPEN)) return;
    if (event.target.closest("form")) nameTicked(event.target.closest("form"));
    for (const other of document.querySelectorAll(OPEN)) {
      if (other !== event.target && !other.contains(event.target)) other.open = false;
    }
  },
  true, // toggle does not bubble
);

document.addEventListener("change", (event) => {
  if (event.target.matches?.("input[data-name]")) nameTicked(event.target.form);
});

document.addEventListener("follow:placed", () => {
  for (const place of document.querySelectorAll("[data-ticked]")) nameTicked(place.closest("form"));
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.defaultPrevented || event.isComposing) return;
  const open = [...document.querySelectorAll(OPEN)];
  if (!open.length) return;
  const mine = open.filter((question) => question.contains(document.activeElement));
  event.preventDefault();
  close((mine.length ? mine : open).at(-1));
});
