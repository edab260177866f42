// Ages that tick, polls that rest in hidden tabs, the theme button, and the keyboard.
(function () {
  "use strict";

  // The same steps and units as span() in relays/domain/words.py.
  function span(seconds) {
    var whole = Math.max(0, Math.floor(seconds));
    if (whole < 60) return whole + " s";
    if (whole < 3600) return Math.floor(whole / 60) + " min";
    if (whole < 48 * 3600) return Math.floor(whole / 3600) + " h";
    return Math.floor(whole / 86400) + " d";
  }

  // The server's clock decides: a wrong one in this machine must not make old figures look young.
  var skewMs = 0;

  function noteServerClock(dateHeader) {
    var server = Date.parse(dateHeader || "");
    if (!isNaN(server)) skewMs = server - Date.now();
  }

  function tick() {
    if (document.hidden) return;
    var now = Date.now() + skewMs;
    document.querySelectorAll("time[data-age]").forEach(function (time) {
      var text = span((now - Date.parse(time.dateTime)) / 1000) + " ago";
      if (time.textContent !== text) time.textContent = text;
    });
  }

  function initialClock() {
    var meta = document.querySelector("meta[name=server-time]");
    if (meta) noteServerClock(meta.content);
  }

  // --- polls

  function polls() {
    return document.querySelectorAll("[data-poll]");
  }

  document.addEventListener("htmx:beforeRequest", function (event) {
    if (!event.target.hasAttribute("data-poll")) return;
    // What somebody is about to change in a row is not taken from under their hands.
    if (document.hidden || event.target.querySelector("form.in-place")) event.preventDefault();
  });
  document.addEventListener("visibilitychange", function () {
    if (document.hidden) return;
    tick();
    polls().forEach(function (element) {
      window.htmx.trigger(element, "wake");
    });
  });

  var lastAnswer = new Date();

  function answered(event) {
    if (!event.target.hasAttribute("data-poll")) return;
    var banner = document.getElementById("silent");
    banner.hidden = event.detail.successful;
    if (event.detail.successful) {
      lastAnswer = new Date();
      noteServerClock(event.detail.xhr.getResponseHeader("Date"));
    } else {
      banner.querySelector("time").textContent = lastAnswer.toLocaleTimeString();
    }
  }

  document.addEventListener("htmx:afterRequest", answered);

  // A morph may not close what the operator opened, nor wipe out a chart (charts.js keeps those), nor what is
  // being typed. Its own ignoreActiveValue would leave a link that has the focus, a whole cell, as it was.
  function staysAsItIs(old) {
    if (old.nodeType !== Node.ELEMENT_NODE) return false;
    return old.hasAttribute("data-chart") || (old === document.activeElement && old.matches("input, select, textarea"));
  }

  if (window.Idiomorph) {
    window.Idiomorph.defaults.callbacks.beforeNodeMorphed = function (old) {
      return !staysAsItIs(old);
    };
    window.Idiomorph.defaults.callbacks.beforeAttributeUpdated = function (name, element) {
      return !(name === "open" && element.localName === "details");
    };
  }
  document.addEventListener("htmx:afterSettle", tick);

  // A form that talks to a host says so while it waits.
  document.addEventListener("htmx:beforeRequest", function (event) {
    var place = document.getElementById(event.target.dataset.busy || "");
    if (!place) return;
    var note = document.createElement("p");
    note.className = "card-body empty-note mb-0";
    note.textContent = "Talking to the host…";
    place.replaceChildren(note);
  });
  document.addEventListener("htmx:afterRequest", function (event) {
    var place = document.getElementById(event.target.dataset.busy || "");
    if (place && !event.detail.successful) {
      place.firstElementChild.textContent = "The console did not answer: try again.";
    }
  });

  // --- theme

  function themeButton() {
    var button = document.getElementById("theme");
    if (!button) return;
    var order = ["auto", "light", "dark"];
    function show() {
      var choice = window.fleetTheme.chosen();
      document.getElementById("theme-word").textContent = choice;
      button.setAttribute("aria-label", "Theme: " + choice);
    }
    button.hidden = false;
    button.addEventListener("click", function () {
      window.fleetTheme.choose(order[(order.indexOf(window.fleetTheme.chosen()) + 1) % order.length]);
      show();
    });
    show();
  }

  // --- keyboard

  var goTo = { m: "/", q: "/queues/", t: "/trace/", h: "/hosts/", p: "/providers/", r: "/ramps/" };
  var waitingForPlace = false;

  function typing(target) {
    return target.isContentEditable || /^(input|textarea|select)$/.test(target.localName);
  }

  function step(by) {
    var rows = Array.from(document.querySelectorAll("[data-row]"));
    if (!rows.length) return;
    var at = rows.indexOf(document.activeElement);
    var next = at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + by));
    rows[next].focus();
  }

  function keyboard(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
    if (document.querySelector("dialog[open]")) return;
    var find = document.getElementById("find");
    if (waitingForPlace) {
      waitingForPlace = false;
      if (goTo[event.key]) window.location.assign(goTo[event.key]);
    } else if (event.key === "g") {
      waitingForPlace = true;
    } else if (event.key === "/" && find) {
      event.preventDefault();
      find.focus();
    } else if (event.key === "j") {
      step(1);
    } else if (event.key === "k") {
      step(-1);
    } else if (event.key === "?") {
      document.getElementById("keys-dialog").showModal();
    }
  }

  function keysButton() {
    var button = document.getElementById("keys");
    if (!button) return;
    button.hidden = false;
    button.addEventListener("click", function () {
      document.getElementById("keys-dialog").showModal();
    });
    document.addEventListener("keydown", keyboard);
  }

  function closeMenus(event) {
    document.querySelectorAll("details.menu[open]").forEach(function (menu) {
      if (event.key === "Escape" || !menu.contains(event.target)) menu.open = false;
    });
  }

  document.addEventListener("click", closeMenus);
  document.addEventListener("keydown", function (event) {
    if (event.key === "Escape") closeMenus(event);
  });

  initialClock();
  themeButton();
  keysButton();
  tick();
  window.setInterval(tick, 1000);
})();
