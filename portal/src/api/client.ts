// The one place that asks the server. Errors are the server's own words.

export class ApiError extends Error {
    constructor(readonly status: number, readonly code: string, message: string, readonly target = "", readonly requestId = "") {
        super(message);
    }
}

/** What every request may be told of: that the session is over. */
export const signedOut = new EventTarget();

export interface Asked { method?: string; body?: unknown; signal?: AbortSignal; raw?: boolean; headers?: Record<string, string> }

async function failed(reply: Response): Promise<ApiError> {
    const text = await reply.text().catch(() => "");
    const id = reply.headers.get("x-ms-request-id") ?? "";
    if (reply.status === 401) signedOut.dispatchEvent(new Event("out"));
    try {
        const { error } = JSON.parse(text);
        return new ApiError(reply.status, error.code, error.message, error.target ?? "", id);
    } catch {
        return new ApiError(reply.status, String(reply.status), text.slice(0, 300) || reply.statusText, "", id);
    }
}

/** Any path of this server; JSON, or text where `raw` is said. Throws ApiError. */
export async function ask<T = any>(path: string, { method = "GET", body, signal, raw, headers }: Asked = {}): Promise<T> {
    let reply: Response;
    try {
        reply = await fetch(path, {
            method, signal, credentials: "same-origin", cache: "no-store",
            headers: { ...(body === undefined || typeof body === "string" ? {} : { "Content-Type": "application/json" }), ...headers },
            body: body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body),
        });
    } catch (error) {
        if ((error as Error).name === "AbortError") throw error;
        throw new ApiError(0, "Unreachable", "the server does not answer");
    }
    if (!reply.ok) throw await failed(reply);
    if (raw) return (await reply.text()) as T;
    const text = await reply.text();
    return (text ? JSON.parse(text) : undefined) as T;
}

/** A query of those that are said: arrays once for each. */
export function query(values: Record<string, unknown>): string {
    const out = new URLSearchParams();
    for (const [name, value] of Object.entries(values))
        for (const one of Array.isArray(value) ? value : [value])
            if (one !== undefined && one !== null && one !== "") out.append(name, String(one));
    return out.toString();
}

const VERSION = "2024-10-01";
export interface Workspace { id: string; name: string }
let current: Workspace | undefined;
export const useThisWorkspace = (workspace: Workspace) => { current = workspace; };
export const workspace = () => current;

/** A path of the ARM API beneath the workspace that is looked at: arm("jobs/x/cancel"). */
export function arm<T = any>(path: string, values: Record<string, unknown> = {}, asked: Asked = {}): Promise<T> {
    if (!current) throw new ApiError(0, "NoWorkspace", "you may read no workspace of this server: ask its operator for a role");
    return ask<T>(`${current.id}/${path}?${query({ ...values, "api-version": VERSION })}`, asked);
}
/** The same beneath any other path. */
export const armAt = <T = any>(path: string, values: Record<string, unknown> = {}, asked: Asked = {}) =>
    ask<T>(`${path}?${query({ ...values, "api-version": VERSION })}`, asked);

/** All pages of a list, up to `most` rows. */
export async function all<T = any>(path: string, values: Record<string, unknown> = {}, most = 1000): Promise<T[]> {
    const rows: T[] = [];
    let page = await arm<{ value: T[]; nextLink?: string }>(path, values);
    rows.push(...page.value);
    while (page.nextLink && rows.length < most) {
        const next = new URL(page.nextLink);
        page = await ask(next.pathname + next.search);
        rows.push(...page.value);
    }
    return rows;
}

/** Of an id of the ARM API its last part; of a version "name:version". */
export function shortId(id?: string | null): string {
    if (!id) return "";
    const parts = id.replace(/^azureml:/, "").split("/");
    const at = parts.lastIndexOf("versions");
    return at > 0 ? `${parts[at - 1]}:${parts[at + 1]}` : parts[parts.length - 1];
}
