"use strict";
// The token lives in this variable alone: closing the page forgets it. Everything shown comes from the admin API, as text.

const root = new URL("../../", location.href);
const EVERY = 5000, CAPACITY_EVERY = 30000, INTENTS = 50;
let token = null, timer = null, capacity = new Map(), capacityAt = 0, before = new Map();
const $ = (id) => document.getElementById(id);

function make(tag, text, cls) {
  const e = document.createElement(tag);
  if (text !== undefined && text !== null) e.textContent = text;
  if (cls) e.className = cls;
  return e;
}

function say(text, bad) {
  $("said").textContent = text;
  $("said").className = bad ? "bad" : "";
}

class Refused extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

async function call(method, path, body) {
  const headers = { Accept: "application/json" };
  if (token) headers["X-Auth-Token"] = token;
  if (body) headers["Content-Type"] = "application/json";
  const reply = await fetch(new URL(path, root), {
    method, headers, body: body && JSON.stringify(body), cache: "no-store", signal: AbortSignal.timeout(20000),
  });
  const doc = await reply.json().catch(() => ({}));
  if (!reply.ok) throw new Refused(reply.status, doc.error?.message || `The gateway answers ${reply.status}.`);
  return [doc, reply];
}

async function signIn(event) {
  event.preventDefault();
  const [user, password, domain, project] = ["user", "password", "domain", "project"].map((id) => $(id).value);
  const auth = {
    identity: { methods: ["password"], password: { user: { name: user, domain: { name: domain }, password } } },
    scope: { project: { name: project, domain: { name: domain } } },
  };
  try {
    token = null;
    const [, reply] = await call("POST", "identity/v3/auth/tokens?nocatalog", { auth });
    token = reply.headers.get("X-Subject-Token");
  } catch (e) {
    say(e.status === 401 ? "The user, the password or the project is not right." : e.message, true);
    return;
  }
  $("password").value = "";
  say("Signed in.");
  show(true);
  await refresh();
  $("main").focus();
}

function signOut(why) {
  token = null;
  clearTimeout(timer);
  capacity = new Map(); capacityAt = 0; before = new Map();
  for (const id of ["sites", "failing", "intents"]) $(id).tBodies[0].replaceChildren();
  for (const id of ["sure-title", "sure-text", "waiting"]) $(id).textContent = "";
  $("summary").textContent = "One OpenStack cloud out of many";
  show(false);
  say(why || "Signed out.", Boolean(why));
  $("user").focus();
}

function show(inside) {
  $("in").hidden = inside;
  $("all").hidden = $("out").hidden = !inside;
}

async function refresh() {
  clearTimeout(timer);
  if (!token) return;
  if (!document.hidden) {
    try {
      const [[{ status }], [{ intents }]] = await Promise.all([
        call("GET", "cascade/v1/status"), call("GET", `cascade/v1/intents?limit=${INTENTS}`),
      ]);
      if (Date.now() - capacityAt > CAPACITY_EVERY) {
        capacityAt = Date.now();
        call("GET", "cascade/v1/capacity").then(([doc]) => {
          capacity = new Map(doc.capacity.map((row) => [row.name, row]));
          if (token) sites(status);
        }).catch(() => { capacityAt = 0; });
      }
      if (!token) return;
      announce(status);
      summary(status);
      sites(status);
      lag(status);
      underWay(intents, status.open_intents);
    } catch (e) {
      if (e.status === 401) return signOut("The sign-in has ended. Sign in again.");
      if (e.status === 403) return signOut("This user is not an operator: the policy of the admin API refuses it.");
      say(`Not up to date: ${e.message}`, true);
    }
  }
  timer = setTimeout(refresh, EVERY);
}

function state(site) {
  if (!site.enabled) return "disabled";
  return site.draining ? `${site.health.state}, draining` : site.health.state;
}

function announce(status) {
  const now = new Map([["hub", status.hub.state], ...status.sites.map((s) => [s.name, state(s)])]);
  const changes = [...now].filter(([name, what]) => before.size && before.get(name) !== what).map(([name, what]) => `${name} is ${what}.`);
  if (changes.length) say(changes.join(" "), [...now.values()].some((s) => s.startsWith("down")));
  else if ($("said").textContent.startsWith("Not up to date")) say("");
  before = now;
}

function summary(status) {
  const up = status.sites.filter((s) => s.health.state === "up").length;
  const offered = Object.entries(status.windows).map(([service, w]) => `${service} ${w[0]}–${w[1]}`).join(", ");
  $("summary").textContent = `${up} of ${status.sites.length} sites up; offered: ${offered}; version ${status.version}`;
}

function health(h) {
  const word = { up: "good", down: "bad", unknown: "mild", off: "mild" }[h.state];
  const cell = make("td");
  cell.append(make("p", h.state, word), make("small", h.since ? `since ${h.since.replace("T", " ").replace("Z", " UTC")}` : ""));
  return cell;
}

function used(row, part, whole, divisor) {
  const cell = make("td", null, "number");
  if (!row || row[whole] === null) cell.textContent = "–";
  else cell.textContent = `${Math.round(row[part] / divisor)} of ${Math.round(row[whole] / divisor)}`;
  return cell;
}

function wrong(row, error) {
  const cell = make("td");
  if (error) cell.append(make("p", error, "bad"));
  if (row.advice) cell.append(make("p", row.advice));
  if (row.services_down.length) cell.append(make("p", `Not answering: ${row.services_down.join(", ")}`, "bad"));
  if (row.extensions.length) {
    const more = make("details");
    more.append(make("summary", `${row.extensions.length} Neutron extensions`), make("span", row.extensions.join(", ")));
    cell.append(more);
  }
  return cell;
}

function sites(status) {
  const body = $("sites").tBodies[0];
  const open = new Set([...body.querySelectorAll("details[open]")].map((d) => d.closest("tr").dataset.name));
  const focused = document.activeElement?.closest?.("tr")?.dataset.name;
  const rows = [{ name: "hub", enabled: true, health: status.hub, open_intents: null, ...status.hub }, ...status.sites];
  body.replaceChildren(...rows.map((s) => {
    const tr = make("tr"), has = capacity.get(s.name), name = make("th", s.name);
    tr.dataset.name = s.name;
    name.scope = "row";
    if (!s.enabled) name.append(make("p", "disabled", "mild"));
    if (s.draining) name.append(make("p", "draining", "mild"));
    const windows = make("td");
    for (const [service, w] of Object.entries(s.windows)) if (w) windows.append(make("p", `${service} ${w[0]}–${w[1]}`));
    tr.append(
      name, health(s.health), make("td", s.release || "–"), windows, make("td", has?.servers ?? "–", "number"),
      used(has, "vcpus_used", "vcpus", 1), used(has, "memory_mb_used", "memory_mb", 1024), make("td", s.open_intents ?? "–", "number"),
      wrong(s, s.health.last_error || (s.health.state === "up" && has?.error) || null), use(s),
    );
    if (open.has(s.name)) tr.querySelector("details")?.setAttribute("open", "");
    return tr;
  }));
  if (focused) [...body.rows].find((r) => r.dataset.name === focused)?.querySelector("button, summary")?.focus();
}

function use(site) {
  const cell = make("td");
  if (site.name === "hub") return cell;
  const words = site.draining || !site.enabled ? ["Use again", "used again"] : ["Drain", "drained"];
  const button = make("button", words[0]);
  button.type = "button";
  button.setAttribute("aria-label", `${words[0]}: ${site.name}`);
  button.addEventListener("click", () => change(site, words[0]));
  cell.append(button);
  return cell;
}

async function change(site, word) {
  const drain = word === "Drain";
  $("sure-title").textContent = drain ? `Drain ${site.name}?` : `Use ${site.name} again?`;
  $("sure-text").textContent = drain
    ? "New servers and volumes go elsewhere, and its zones are shown as not available. What is there stays and can be used."
    : "New servers and volumes may go there, and its zones are shown as available when it answers.";
  $("sure-yes").textContent = drain ? "Drain it" : "Use it again";
  const dialog = $("sure");
  dialog.returnValue = "no";
  dialog.showModal();
  await new Promise((done) => dialog.addEventListener("close", done, { once: true }));
  if (dialog.returnValue !== "yes") return;
  const wish = drain ? { draining: true } : { draining: false, enabled: true };
  try {
    await call("PATCH", `cascade/v1/sites/${encodeURIComponent(site.name)}`, { site: wish });
    await refresh();
    say(drain ? `${site.name} is being drained.` : `${site.name} is used again.`);
  } catch (e) {
    say(`${site.name}: ${e.message}`, true);
  }
}

function lag(status) {
  const waiting = Object.entries(status.waiting).filter(([, n]) => n);
  $("waiting").textContent = waiting.length
    ? `Waiting to be looked at: ${waiting.map(([queue, n]) => `${n} in ${queue}`).join(", ")}.` : "Every copy has followed the hub.";
  $("failing").hidden = !status.failing.length;
  $("failing").tBodies[0].replaceChildren(...status.failing.map((f) => {
    const tr = make("tr"), error = make("td");
    error.append(make("p", f.error, "bad"), make("p", f.advice));
    tr.append(make("td", f.queue), make("td", f.key), make("td", f.since), error);
    return tr;
  }));
}

function underWay(intents, total) {
  $("intents-title").textContent = total > intents.length ? `Requests under way: the oldest ${intents.length} of ${total}` : `Requests under way: ${total}`;
  $("intents").hidden = !intents.length;
  $("intents").tBodies[0].replaceChildren(...intents.map((i) => {
    const tr = make("tr");
    tr.append(
      make("td", i.request_id), make("td", `${i.verb} ${i.resource_id || ""}`), make("td", i.state), make("td", i.site),
      make("td", i.created), make("td", i.error, "bad"),
    );
    return tr;
  }));
}

$("in").addEventListener("submit", signIn);
$("out").addEventListener("click", () => signOut());
document.addEventListener("visibilitychange", () => { if (!document.hidden && token) refresh(); });
$("user").focus();
