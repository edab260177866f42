// Loaded before the style sheets, so that the page is never painted in the wrong theme.
(function () {
  "use strict";
  var system = window.matchMedia("(prefers-color-scheme: dark)");

  function chosen() {
    try {
      return window.localStorage.getItem("fleet-theme") || "auto";
    } catch (error) {
      return "auto"; // Storage may be forbidden; then the system's theme it is.
    }
  }

  function apply() {
    var choice = chosen();
    var theme = choice === "auto" ? (system.matches ? "dark" : "light") : choice;
    document.documentElement.setAttribute("data-bs-theme", theme);
    document.dispatchEvent(new CustomEvent("fleet:theme", { detail: choice }));
  }

  function choose(choice) {
    try {
      window.localStorage.setItem("fleet-theme", choice);
    } catch (error) {
      return;
    }
    apply();
  }

  window.fleetTheme = { chosen: chosen, choose: choose };
  system.addEventListener("change", apply);
  apply();
})();
