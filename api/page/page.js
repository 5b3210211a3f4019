"use strict";
// The playground: asks the service, shows the answer with its reasons, sends what the visitor does, asks again.

const $ = (id) => document.getElementById(id);
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const catalogue = new Map(); // item id -> {title, categories}; null for one the model does not know
const chosen = new Set(); // categories
const seenCategories = new Set();
let known = [];
let before = new Map(); // item id -> rank in the previous answer to the same user
let lastUser = null;
let asked = 0;

async function call(path, body) {
  const init = body === undefined ? {} : { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  const response = await fetch(path, init).catch(() => { throw new Error("The service does not answer; is it running?"); });
  const told = await response.json().catch(() => ({}));
  if (!response.ok && path !== "/readyz") throw new Error(told.detail || `${path} answered ${response.status}`);
  return told;
}

async function learn(ids) {
  const missing = [...new Set(ids)].filter((id) => !catalogue.has(id));
  for (let start = 0; start < missing.length; start += 40) {
    const part = missing.slice(start, start + 40);
    const query = part.map((id) => "ids=" + encodeURIComponent(id)).join("&");
    const found = new Map((await call("/v1/items?" + query)).items.map((item) => [item.item_id, item]));
    part.forEach((id) => catalogue.set(id, found.get(id) || null)); // only now: a call that fails is made again
  }
}

const title = (id) => catalogue.get(id)?.title || id;

// Left of 0 nothing is asked, and the settings decide.
const diversity = () => { const value = Number($("diversity").value); return value < 0 ? {} : { diversity: value }; };

async function recommend(because = "") {
  const user_id = $("user").value.trim();
  if (!user_id) return;
  const turn = ++asked;
  const started = performance.now();
  try {
    const answer = await call("/v1/recommendations", {
      user_id, k: Number($("k").value), categories: [...chosen], explain: $("explain").checked, ...diversity(),
    });
    const took = performance.now() - started;
    await learn(answer.items.flatMap((item) => [item.item_id, ...item.reasons.map((r) => r.because).filter(Boolean)]));
    if (turn !== asked) return; // a newer question is on its way
    if (user_id !== lastUser) before = new Map();
    show(answer, user_id);
    lastUser = user_id;
    before = new Map(answer.items.map((item) => [item.item_id, item.rank]));
    $("said").textContent = `${because}${answer.items.length} items in ${took.toFixed(0)} ms`;
    problem(answer.degraded ? "A part of the service is broken or late: this is a simpler answer, by popularity." : "");
  } catch (error) {
    problem(error.message);
  }
}

function show(answer, user) {
  const list = $("list");
  const places = new Map([...list.children].map((card) => [card.dataset.item, card.getBoundingClientRect()]));
  const largest = Math.max(1e-9, ...answer.items.flatMap((item) => item.reasons.map((r) => Math.abs(r.weight))));
  const cards = answer.items.map((item) => card(item, answer.request_id, largest));
  $("list-title").textContent = `Recommendations for ${user}`;
  if (!cards.length) {
    const none = document.createElement("li");
    none.className = "empty";
    none.textContent = "Nothing fits: choose fewer categories.";
    cards.push(none);
  }
  list.replaceChildren(...cards);
  chips();
  if (!calm.matches) cards.forEach((element) => glide(element, places.get(element.dataset.item)));
}

function card(item, request_id, largest) {
  const element = $("card").content.firstElementChild.cloneNode(true);
  const part = (name) => element.querySelector("." + name);
  const about = catalogue.get(item.item_id);
  element.dataset.item = item.item_id;
  part("rank").textContent = `#${item.rank}`;
  part("title").textContent = title(item.item_id);
  part("title").title = title(item.item_id);
  const by = item.placed_by === "score" ? [] : [`placed by: ${item.placed_by}`];
  part("meta").textContent = [...(about?.categories || []), item.item_id, ...by].join(" · ");
  (about?.categories || []).forEach((name) => seenCategories.add(name));
  move(part("moved"), item);
  part("reasons").replaceChildren(...item.reasons.flatMap((reason) => reasonRow(reason, largest)));
  const because = item.reasons.find((reason) => reason.because)?.because;
  if (because) part("because").textContent = `Because of “${title(because)}”`;
  for (const button of element.querySelectorAll("[data-kind]")) {
    button.setAttribute("aria-label", `${button.textContent}: ${title(item.item_id)}`);
    button.addEventListener("click", () => act(button, item.item_id, request_id));
  }
  return element;
}

function move(badge, item) {
  if (!before.size) return;
  const was = before.get(item.item_id);
  if (was === undefined) { badge.className = "moved new"; badge.textContent = "new"; return; }
  if (was === item.rank) return;
  const up = was > item.rank;
  badge.className = "moved " + (up ? "up" : "down");
  badge.textContent = `${up ? "▲" : "▼"} ${Math.abs(was - item.rank)}`;
  badge.setAttribute("aria-label", `${up ? "up" : "down"} ${Math.abs(was - item.rank)}`);
}

function reasonRow(reason, largest) {
  const name = document.createElement("dt");
  name.textContent = reason.family;
  const told = (value) => value === null ? "none" : Number(value.toPrecision(3));
  name.title = [reason.family, ...reason.features.map((f) => `${f.name} = ${told(f.value)}: ${signed(f.weight)}`)].join("\n");
  const cell = document.createElement("dd");
  const bar = document.createElement("span");
  bar.className = "bar";
  bar.setAttribute("aria-hidden", "true");
  const fill = document.createElement("i");
  const share = 50 * Math.abs(reason.weight) / largest;
  fill.style.width = share + "%";
  fill.style.left = (reason.weight < 0 ? 50 - share : 50) + "%";
  if (reason.weight < 0) fill.className = "minus";
  bar.append(fill);
  const value = document.createElement("span");
  value.className = "value";
  value.textContent = signed(reason.weight);
  cell.append(bar, value);
  return [name, cell];
}

const signed = (weight) => (weight < 0 ? "−" : "+") + Math.abs(weight).toFixed(2);

function glide(element, from) {
  const to = element.getBoundingClientRect();
  const frames = from
    ? [{ transform: `translate(${from.left - to.left}px, ${from.top - to.top}px)` }, { transform: "none" }]
    : [{ opacity: 0 }, { opacity: 1 }];
  element.animate(frames, { duration: 280, easing: "ease-out" });
}

async function act(button, item_id, request_id) {
  const kind = button.dataset.kind;
  button.disabled = true;
  try {
    const event = { event_id: fresh(), user_id: lastUser, item_id, kind, request_id };
    const told = await call("/v1/events", { events: [event] });
    if (told.rejected.length) throw new Error(told.rejected[0].detail);
    note(kind, item_id);
    await recommend(`${button.textContent} stored. `);
    $("list").focus({ preventScroll: true });
  } catch (error) {
    problem(error.message);
  } finally {
    button.disabled = false;
  }
}

function note(kind, item_id) {
  const line = document.createElement("li");
  const what = document.createElement("b");
  what.textContent = kind;
  const which = document.createElement("span");
  which.textContent = title(item_id);
  line.append(what, which);
  $("sent").prepend(line);
  $("sent-none").hidden = true;
}

function chips() {
  if (!seenCategories.size) return;
  const buttons = [...seenCategories].sort((a, b) => a.localeCompare(b)).map((name) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = name;
    button.setAttribute("aria-pressed", chosen.has(name));
    button.addEventListener("click", () => {
      chosen.has(name) ? chosen.delete(name) : chosen.add(name);
      button.setAttribute("aria-pressed", chosen.has(name));
      recommend();
    });
    return button;
  });
  const focused = document.activeElement?.parentElement === $("categories") ? document.activeElement.textContent : null;
  $("categories").replaceChildren(...buttons);
  buttons.find((button) => button.textContent === focused)?.focus();
}

function problem(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

// crypto.randomUUID exists only on https and localhost; the page may be opened by the machine's name.
const fresh = () => [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");

async function health() {
  try {
    const told = await call("/readyz");
    $("model").className = "model " + (told.ready && !told.problems.length ? "ok" : "bad");
    const state = told.ready ? `Model ${told.model} · knows what came before ${told.cutoff.replace("T", " ").slice(0, 16)} UTC · ${told.live_events} live events` : "Not ready";
    $("model-text").textContent = [state, ...told.problems].join(" · ");
  } catch (error) {
    $("model").className = "model bad";
    $("model-text").textContent = error.message;
  }
}

$("ask").addEventListener("submit", (event) => { event.preventDefault(); recommend(); });
$("k").addEventListener("input", () => { $("k-shown").textContent = $("k").value; });
$("k").addEventListener("change", () => recommend());
$("diversity").addEventListener("input", () => { $("diversity-shown").textContent = diversity().diversity ?? "as set"; });
$("diversity").addEventListener("change", () => recommend());
$("explain").addEventListener("change", () => recommend());
$("another").addEventListener("click", () => {
  if (!known.length) return;
  $("user").value = known[(known.indexOf($("user").value) + 1) % known.length];
  recommend();
});
$("newcomer").addEventListener("click", () => { $("user").value = "newcomer-" + fresh().slice(0, 6); recommend(); });

(async () => {
  await health();
  setInterval(health, 5000);
  try {
    known = (await call("/page/users")).users;
    $("users").replaceChildren(...known.map((id) => new Option(id)));
  } catch (error) {
    problem(error.message);
  }
  $("user").value = known[0] || "newcomer";
  await recommend();
})();
