// What happens on the server reaches the page by itself: one request waits at …/events as long as
// the page is looked at, and what an event is about is asked for again. While nobody looks nothing
// is asked.
import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { arm } from "./client";

interface Event { id: string; at: string; kind: string; name: string; what: string; compute?: string }
export type Live = "starting" | "live" | "away";

const AT_MOST_EVERY = 700; // ms that a list is asked for again

export function useLive(on: boolean): Live {
    const client = useQueryClient();
    const [state, setState] = useState<Live>("starting");
    useEffect(() => {
        if (!on) return;
        let stop = new AbortController(), ended = false, after = "", pause = 500;
        const pending = new Map<string, ReturnType<typeof setTimeout>>();
        const soon = (key: unknown[]) => {
            const id = JSON.stringify(key);
            if (!pending.has(id))
                pending.set(id, setTimeout(() => { pending.delete(id); client.invalidateQueries({ queryKey: key }); }, AT_MOST_EVERY));
        };
        const tell = (event: Event) => {
            if (event.kind === "job") {
                soon(["rows"]);
                soon(["job", event.name]);
                const parent = /^(.+)_\d+$/.exec(event.name);
                if (parent) soon(["job", parent[1]]);
            }
            if (event.kind !== "space") soon(["computes"]);
            soon(["events"]);
        };
        const visible = () => new Promise<void>((go) => {
            if (!document.hidden) return go();
            const look = () => { if (!document.hidden) { document.removeEventListener("visibilitychange", look); go(); } };
            document.addEventListener("visibilitychange", look);
        });
        const hide = () => { if (document.hidden) { stop.abort(); stop = new AbortController(); } };
        document.addEventListener("visibilitychange", hide);
        (async () => {
            while (!ended) {
                await visible();
                if (ended) return;
                try {
                    if (!after) after = (await arm<{ next: string }>("events", { limit: 1 })).next;
                    setState("live");
                    const page = await arm<{ value: Event[]; next: string }>("events", { after, wait: 25 }, { signal: stop.signal });
                    page.value.forEach(tell);
                    if (page.next) after = page.next;
                    pause = 500;
                } catch (error) {
                    if ((error as Error).name === "AbortError") continue;
                    setState("away");
                    await new Promise((go) => setTimeout(go, pause * (0.7 + Math.random() * 0.6)));
                    pause = Math.min(pause * 2, 15000);
                    // What was missed meanwhile is asked for once.
                    after = "";
                    client.invalidateQueries();
                }
            }
        })();
        return () => {
            ended = true;
            stop.abort();
            document.removeEventListener("visibilitychange", hide);
            pending.forEach(clearTimeout);
        };
    }, [on, client]);
    return state;
}
