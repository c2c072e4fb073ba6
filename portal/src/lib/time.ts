// Times and spans in words. Times are of the browser's zone, or of UTC where the settings say so.
const ZONE = "turnout.zone";

export const usesUtc = () => localStorage.getItem(ZONE) === "utc";
export const setUtc = (utc: boolean) => localStorage.setItem(ZONE, utc ? "utc" : "local");
const zone = () => (usesUtc() ? "UTC" : undefined);

/** Of the API, whose fractions have six digits; undefined where there is none. */
export const parseTime = (text?: string | null): Date | undefined => (text ? new Date(text) : undefined);

/** "12:03:10" of today, else "29 Nov, 12:03", of another year with it. */
export function shortTime(at?: Date): string {
    if (!at) return "";
    const now = new Date();
    const day = (date: Date) => date.toLocaleDateString("en-GB", { timeZone: zone() });
    if (day(at) === day(now)) return at.toLocaleTimeString("en-GB", { timeZone: zone() });
    const year = at.getFullYear() === now.getFullYear() ? undefined : ("numeric" as const);
    return at.toLocaleString("en-GB", { timeZone: zone(), day: "numeric", month: "short", year, hour: "2-digit", minute: "2-digit" });
}

export const fullTime = (at?: Date) => (at ? at.toLocaleString("en-GB", { timeZone: zone(), dateStyle: "medium", timeStyle: "long" }) : "");

/** For a tooltip: the same time here, in UTC, and how long ago. */
export const timeInWords = (at?: Date) => (at ? `${fullTime(at)}\n${at.toISOString().slice(0, 19).replace("T", " ")} UTC\n${ago(at)}` : "");

export function ago(at: Date): string {
    const micros = (Date.now() - at.getTime()) * 1000;
    return micros < 0 ? `in ${span(-micros)}` : `${span(micros)} ago`;
}

/** "340 us", "24.9 s", "2 m 10 s", "3 h 05 m", "4 d 2 h" of microseconds. */
export function span(micros: number): string {
    if (micros < 1000) return `${Math.round(micros)} us`;
    const ms = micros / 1000;
    if (ms < 1000) return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
    const s = ms / 1000;
    if (s < 60) return `${s.toFixed(1)} s`;
    const whole = Math.round(s);
    if (whole < 3600) return `${Math.floor(whole / 60)} m ${String(whole % 60).padStart(2, "0")} s`;
    if (whole < 86400) return `${Math.floor(whole / 3600)} h ${String(Math.floor((whole % 3600) / 60)).padStart(2, "0")} m`;
    return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

/** "PT2M" of the API as seconds. */
export function isoSeconds(text?: string): number | undefined {
    const match = /^P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?$/.exec(text ?? "");
    if (!match) return undefined;
    const [, d, h, m, s] = match.map(Number);
    return (d || 0) * 86400 + (h || 0) * 3600 + (m || 0) * 60 + (s || 0);
}
