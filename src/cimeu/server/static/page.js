// What the pages of the viewer share: asking the service, elements, words and colours.

export const at = (id) => document.getElementById(id);

// Asking the service

class Refusal extends Error {
  constructor(status, problem) {
    super(problem.message);
    this.status = status;
    this.hint = problem.hint;
  }
}

export function bearer() {
  const token = sessionStorage.getItem("token");
  return token ? { Authorization: `Bearer ${token}` } : {};
}

export async function ask(path, { method = "GET", body } = {}) {
  const headers = { ...bearer(), ...(body ? { "Content-Type": "application/json" } : {}) };
  const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  if (answer.ok) return answer.status === 204 ? null : answer.json();
  const problem = await answer.json().catch(() => ({ message: answer.statusText, hint: "" }));
  if (answer.status === 401) {
    await askForToken();
    return ask(path, { method, body });
  }
  throw new Refusal(answer.status, problem);
}

let asking = null;
function askForToken() {
  asking ??= new Promise((resolve) => {
    const dialog = tokenDialog();
    document.body.append(dialog);
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    dialog.firstChild.onsubmit = async (event) => {
      event.preventDefault();
      sessionStorage.setItem("token", at("token").value);
      const answer = await fetch("/session", { method: "POST", headers: bearer() });
      at("token-problem").hidden = answer.ok;
      at("token-problem").textContent = answer.ok ? "" : "That is not the token.";
      if (!answer.ok) return;
      dialog.remove();
      asking = null;
      resolve();
    };
    dialog.showModal();
  });
  return asking;
}

function tokenDialog() {
  const problem = node("p", { id: "token-problem", className: "problem", role: "alert", hidden: true });
  const form = node("form", { method: "dialog" },
    node("h2", { id: "token-title", textContent: "This server asks for a token" }),
    node("p", { textContent: "Whoever started it knows it. It is kept until this tab is closed." }),
    node("label", { htmlFor: "token", textContent: "Token" }),
    node("input", { id: "token", type: "password", autocomplete: "off", required: true }),
    problem,
    node("div", { className: "actions" }, node("button", { type: "submit", className: "primary", textContent: "Continue" })),
  );
  const dialog = node("dialog", { id: "ask-token" }, form);
  dialog.setAttribute("aria-labelledby", "token-title");
  return dialog;
}

// Saying things

export function node(tag, properties = {}, ...children) {
  const { dataset, ...plain } = properties;
  const made = Object.assign(document.createElement(tag), plain);
  Object.assign(made.dataset, dataset);
  made.append(...children);
  return made;
}

export function announce(text) {
  at("announce").textContent = text;
}

export function showProblem(message, hint) {
  const box = at("problem");
  box.replaceChildren(...[message, hint].filter(Boolean).map((text) => node("p", {}, ...coded(text))));
  box.hidden = false;
}

// What stands between backticks in a message is a name or a command.
export function coded(text) {
  const parts = (text[0].toUpperCase() + text.slice(1)).split("`");
  return parts.map((part, index) => (index % 2 ? node("code", { textContent: part }) : part));
}

// What stands below must not move under the pointer when a box has fewer lines than before.
export function keepHeight(box) {
  box.style.minHeight = `${Math.max(Number.parseFloat(box.style.minHeight) || 0, box.offsetHeight)}px`;
}

export function clock(time_s) {
  const minutes = Math.floor(time_s / 60);
  return `${minutes}:${(time_s - 60 * minutes).toFixed(1).padStart(4, "0")}`;
}

export function vector(tag, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

// The order of COLOURS in cimeu/timeline/style.py: an emotion has one colour on every page. Other names get, in the
// order of the model's emotions, the colours that none of those emotions has.
const TONES = ["anger", "happiness", "sadness", "neutral", "fear", "disgust", "surprise", "contempt", "anxiety",
  "helplessness", "disappointment", "boredom", "calm"];

export function tone(result, label) {
  if (!result.emotions.includes(label)) return "none";
  if (TONES.includes(label)) return `tone-${TONES.indexOf(label)}`;
  const free = [...TONES.keys()].filter((place) => !result.emotions.includes(TONES[place]));
  const tones = free.length ? free : [...TONES.keys()];
  const others = result.emotions.filter((emotion) => !TONES.includes(emotion));
  return `tone-${tones[others.indexOf(label) % tones.length]}`;
}
