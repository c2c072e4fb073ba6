// Jobs, as the portal's own routes and the public API tell of them.
import { arm, ask, query, shortId } from "./client";
import { linkQuery } from "./session";

export interface Row {
    name: string; displayName?: string; type: string; status: string; cause?: string; experiment: string; compute: string; by: string;
    created: string; started?: string; ended?: string; why?: string; archived?: boolean;
    children?: { created: number; completed: number; failed: number; canceled: number };
}
export interface Rows { value: Row[]; next?: string; scanned: number; now: string }
export interface File { path: string; bytes: number }
export interface Metric { key: string; value: number | null; words: string; step: number }
export interface Trial { index: number; name: string; status: string; parameters: Record<string, string>; score?: number; stoppedEarly?: boolean; micros?: number; why?: string; link?: string }
export interface Sweep { metric: string; maximize: boolean; total: number; rows: Trial[]; page: number; pages: number; sample: Trial[]; stride: number; best?: Trial }
export interface Step { name: string; job: string; compute: string; status: string; after: string[]; micros?: number; why?: string; link?: string }
export interface Document {
    reader: "session" | "link"; workspace: { name: string; id: string }; job: any; explain: any; log: string; logs: File[];
    artifacts: File[]; moreArtifacts: boolean; outputs: { name: string; type: string; uri: string; listed: boolean; files: File[]; more: boolean }[];
    metrics?: Metric[]; params?: Record<string, string>; parent?: { name: string; trial: boolean; role: string };
    sweep?: Sweep; steps?: { total: number; rows: Step[]; page: number; pages: number }; now: string;
}

const base = (wsid: string, job: string) => `/studio/jobs/${encodeURIComponent(wsid)}/${encodeURIComponent(job)}`;
/** An address beneath a job's page, with the link by which it was opened where nobody is logged in. */
export function beneath(wsid: string, job: string, path: string, values: Record<string, unknown> = {}, session = true): string {
    const words = [query(values), session ? "" : linkQuery()].filter(Boolean).join("&");
    return `${base(wsid, job)}/${path}${words ? "?" + words : ""}`;
}
export const pathOf = (path: string) => path.split("/").map(encodeURIComponent).join("/");

export const document_ = (wsid: string, job: string, session: boolean, page?: number) =>
    ask<Document>(beneath(wsid, job, "document", { page }, session));
export const rows = (values: Record<string, unknown>) => arm<Rows>("jobRows", values);
export const cancel = (job: string) => arm(`jobs/${encodeURIComponent(job)}/cancel`, {}, { method: "POST" });
export const remove = (job: string) => arm(`jobs/${encodeURIComponent(job)}`, {}, { method: "DELETE" });

/** What of a job's document is its definition: what a new job of the same kind is submitted with. */
export function definition(job: any): any {
    const own = { ...job.properties };
    for (const name of ["status", "services", "parentJobName", "isArchived", "error"]) delete own[name];
    own.properties = Object.fromEntries(Object.entries(own.properties ?? {}).filter(([name]) => !name.startsWith("turnout.") && !/^(best_|score$)/.test(name)));
    for (const name of Object.keys(own)) if (own[name] === null) delete own[name];
    return own;
}

/** "curious_turnout_x7k2p9": as clients name jobs that nobody has named. */
export function newName(): string {
    const words = ["amber", "brisk", "calm", "clever", "crisp", "eager", "gentle", "jolly", "keen", "lively", "mellow", "quick", "silent", "steady", "sunny", "witty"];
    const things = ["arch", "beacon", "bridge", "cloud", "engine", "garden", "harbor", "island", "meadow", "pepper", "river", "signal", "spruce", "switch", "track", "yard"];
    const one = (list: string[]) => list[crypto.getRandomValues(new Uint32Array(1))[0] % list.length];
    const end = Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => "abcdefghijklmnopqrstuvwxyz0123456789"[byte % 36]).join("");
    return `${one(words)}_${one(things)}_${end}`;
}
export const computeOf = (job: any) => job.properties.properties?.["turnout.compute"] ?? (shortId(job.properties.computeId) || "serverless");
