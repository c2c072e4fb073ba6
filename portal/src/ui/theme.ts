// Light, dark, or as the system has it; kept in this browser.
export type Theme = "system" | "light" | "dark";
const KEY = "turnout.theme";
const system = matchMedia("(prefers-color-scheme: dark)");

export const theme = (): Theme => (localStorage.getItem(KEY) as Theme) ?? "system";
export const isDark = () => document.documentElement.dataset.theme === "dark";
export function applyTheme() {
    const wanted = theme();
    document.documentElement.dataset.theme = wanted === "system" ? (system.matches ? "dark" : "light") : wanted;
    dispatchEvent(new Event("turnout-theme"));
}
export function setTheme(next: Theme) {
    localStorage.setItem(KEY, next);
    applyTheme();
}
system.addEventListener("change", applyTheme);
/** What a token is worth now, for canvases. */
export const token = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
