// Who this browser is, and the link with which a job's page was opened.
import { ask } from "./client";

export interface Me { name: string; displayName?: string; roles: { role: string; scope: string }[]; token?: string }
const KNOWN = "turnout.known"; // that this browser was logged in when it was last asked
export async function me(): Promise<Me> {
    try {
        const who = await ask<Me>("/turnout/me");
        localStorage.setItem(KNOWN, "yes");
        return who;
    } catch (error) {
        localStorage.removeItem(KNOWN);
        throw error;
    }
}
/** Whoever opens a job's page by its link may never have logged in here: then nobody is asked. */
export const mayBeKnown = () => linkQuery() === "" || localStorage.getItem(KNOWN) === "yes";

/** What a signed link consists of; "" without one. It goes with what is asked for that job. */
export function linkQuery(): string {
    const given = new URLSearchParams(location.search), kept = new URLSearchParams();
    for (const name of ["se", "skoid", "sig"]) if (given.get(name)) kept.set(name, given.get(name)!);
    return kept.has("sig") ? kept.toString() : "";
}

/** A code of a login link, or an API token, becomes a session. */
export async function signIn(text: string): Promise<void> {
    let code = /[?&]code=([^&\s]+)/.exec(text)?.[1];
    if (!code) {
        const made = await ask<{ path: string }>("/turnout/login-links", { method: "POST", headers: { Authorization: `Bearer ${text.trim()}` } });
        code = /[?&]code=([^&\s]+)/.exec(made.path)![1];
    }
    await ask("/login/once", { method: "POST", raw: true, body: `code=${code}`, headers: { "Content-Type": "application/x-www-form-urlencoded" } });
}
export const signOut = () => ask("/logout", { method: "POST", raw: true });
