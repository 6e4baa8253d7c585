// What makes the pages quicker to use; everything works without it.
for (const form of document.querySelectorAll("form[data-auto]")) {
  form.addEventListener("change", (event) => {
    if (event.target.matches("select, input[type=number], input[type=range]")) form.requestSubmit();
  });
  form.addEventListener("submit", () => {
    for (const field of form.querySelectorAll("input, select")) if (!field.value) field.disabled = true;
  });
}
addEventListener("pageshow", () => {
  for (const field of document.querySelectorAll("form[data-auto] :disabled")) field.disabled = false;
});
addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (document.activeElement.matches("input, select, textarea")) return;
  const field = document.querySelector("main form input[name=service]") ?? document.querySelector("main form input");
  if (field) {
    event.preventDefault();
    field.focus();
  }
});
for (const range of document.querySelectorAll("input[type=range][data-shows]")) {
  const output = document.getElementById(range.dataset.shows);
  range.addEventListener("input", () => { output.textContent = `${range.value}×`; });
}
if (document.querySelector("[data-await-spans]")) {
  const look = async () => {
    const found = await fetch("/api/state").then((answer) => answer.json()).catch(() => ({}));
    if (found.spans || found.unsealed_spans) location.reload();
    else setTimeout(look, 3000);
  };
  setTimeout(look, 3000);
}
