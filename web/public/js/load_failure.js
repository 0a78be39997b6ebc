/** Says that a part of the page could not be loaded, which otherwise leaves it empty. No module: it depends on none. */

function show() {
  const text = Object.assign(document.createElement("p"), { textContent: "A part of this page could not be loaded." });
  const again = Object.assign(document.createElement("button"), { type: "button", textContent: "Try again" });
  again.className = "button";
  again.addEventListener("click", () => location.reload());
  const notice = Object.assign(document.createElement("div"), { className: "noscript", role: "alert" });
  notice.append(text, again);
  document.body.prepend(notice);
}

// An element's error does not bubble, but it is captured: a module's own, or that of any module it imports.
addEventListener("error", ({ target }) => {
  if (!(target instanceof HTMLScriptElement)) return;
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", show, { once: true });
  else show();
}, { capture: true });
