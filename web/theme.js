// Light or dark: as the system has it, until somebody chooses.
const kinds = ["system", "light", "dark"];

export function remembered(key, fallback) {
  try {
    return localStorage.getItem(key) ?? fallback;
  } catch {
    return fallback;  // storage may be forbidden
  }
}

export function remember(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // then it is forgotten with the page
  }
}

let theme = remembered("dvlm.theme", "system");
if (!kinds.includes(theme)) theme = "system";

function apply(button) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  if (button) button.textContent = `Colours: ${theme}`;
}

export function addThemeButton(button) {
  apply(button);
  button.addEventListener("click", () => {
    theme = kinds[(kinds.indexOf(theme) + 1) % kinds.length];
    remember("dvlm.theme", theme);
    apply(button);
  });
}

apply();
