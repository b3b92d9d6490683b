"use strict";
(() => {
  const rows = document.getElementById("decisions");
  const state = document.getElementById("state");
  const pause = document.getElementById("pause");
  const most = 100;
  let source = null;

  const show = (decision) => {
    const row = rows.insertRow(0);
    const cell = (text, name) => {
      const cell = row.insertCell();
      if (name) {
        const badge = document.createElement("span");
        badge.className = "dot " + name;
        cell.append(badge);
      }
      cell.append(text ?? "–");
    };
    cell(decision.outcome, decision.outcome);
    cell(decision.route);
    cell(decision.status);
    cell([decision.forward, decision.reason].filter(Boolean).join(", ") || "–");
    cell(decision.ttl);
    cell(decision.age);
    cell(decision.key ?? decision.digest);
    while (rows.rows.length > most) rows.deleteRow(-1);
  };

  const start = () => {
    source = new EventSource(rows.dataset.source);
    source.onopen = () => (state.textContent = "Connected");
    source.onerror = () => (state.textContent = "Connecting …");
    source.onmessage = (event) => show(JSON.parse(event.data));
    pause.textContent = "Pause";
  };
  const stop = () => {
    source.close();
    source = null;
    state.textContent = "Paused";
    pause.textContent = "Continue";
  };

  pause.addEventListener("click", () => (source ? stop() : start()));
  start();
})();
