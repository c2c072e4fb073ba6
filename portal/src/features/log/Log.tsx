// A job's log, of any length: lines are asked for as they come into view, few are kept, and the end
// is followed as it grows, unless somebody reads further up.
import { useVirtualizer } from "@tanstack/react-virtual";
import { memo, useCallback, useEffect, useMemo, useReducer, useRef, useState } from "react";
import { ask } from "../../api/client";
import { beneath, type File } from "../../api/jobs";
import { pieces, plain } from "../../lib/ansi";
import { bytes, number } from "../../lib/bytes";
import { Icon } from "../../ui/icons";
import { Button, ErrorBox, SearchBox } from "../../ui/kit";
import "./log.css";

const WINDOW = 500; // lines of one request
const KEPT = 12_000; // lines
const MOST = 1_500_000; // lines one scroller can hold: browsers end an element at 33,554,430 px
const HEIGHT = 18;

interface Answer { path: string; first: number; lines: string[]; total: number; bytes: number; complete: boolean }
interface Match { line: number; text: string }
interface Props { wsid: string; job: string; session: boolean; path: string; logs?: File[]; onPath?: (path: string) => void; live: boolean; small?: boolean; line?: number; onLine?: (line?: number) => void }

class Lines {
    readonly at = new Map<number, string>();
    total = 0; bytes = 0; complete = false;
    private asked = new Set<number>();
    take(answer: Answer, near: number) {
        answer.lines.forEach((text, i) => this.at.set(answer.first + i, text));
        this.total = answer.total;
        this.bytes = answer.bytes;
        this.complete = answer.complete;
        if (this.at.size > KEPT) // what is far from what is looked at
            for (const line of this.at.keys()) if (Math.abs(line - near) > KEPT / 3 && line < this.total - WINDOW) this.at.delete(line);
    }
    /** The window that is missing among these lines; undefined: none, or it is under way. */
    missing(from: number, to: number): number | undefined {
        for (let line = from; line <= to; line++) {
            if (this.at.has(line)) continue;
            const window = Math.floor((line - 1) / WINDOW);
            if (!this.asked.has(window)) { this.asked.add(window); return window; }
        }
        return undefined;
    }
    answered(window: number) { this.asked.delete(window); }
}

export function Log(props: Props) {
    const { wsid, job, session, path, logs, onPath, live, small, line: chosen, onLine } = props;
    const [, draw] = useReducer((n: number) => n + 1, 0);
    const store = useMemo(() => new Lines(), [wsid, job, path]);
    const [problem, setProblem] = useState<unknown>();
    const [wrap, setWrap] = useState(() => localStorage.getItem("turnout.wrap") !== "no");
    const [follow, setFollow] = useState(chosen === undefined);
    const [seen, setSeen] = useState(0); // lines that were there when following stopped
    const [text, setText] = useState("");
    const [matches, setMatches] = useState<{ list: Match[]; more: boolean; searched: number } | undefined>();
    const [match, setMatch] = useState(0);
    const [only, setOnly] = useState(false);
    const box = useRef<HTMLDivElement>(null), frame = useRef<HTMLDivElement>(null);
    const followed = useRef(follow);
    followed.current = follow;
    const near = useRef(0);

    // Its end, and what comes behind it.
    useEffect(() => {
        let stop = new AbortController(), ended = false, pause = 500;
        setProblem(undefined);
        const hide = () => { if (document.hidden) { stop.abort(); stop = new AbortController(); } };
        document.addEventListener("visibilitychange", hide);
        (async () => {
            let first = true;
            while (!ended) {
                if (document.hidden && !first) { await new Promise((go) => setTimeout(go, 400)); continue; }
                try {
                    const before = store.total;
                    const answer = await ask<Answer>(beneath(wsid, job, "lines", { path, tail: 200, ...(first ? {} : { longer: store.bytes, wait: 25 }) }, session), { signal: stop.signal });
                    if (ended) return;
                    store.take(answer, near.current);
                    setProblem(undefined);
                    if (before !== store.total || first) draw();
                    else draw();
                    first = false;
                    pause = 500;
                    if (answer.complete) return;
                } catch (error) {
                    if ((error as Error).name === "AbortError") continue;
                    if (ended) return;
                    setProblem(error);
                    if ((error as { status?: number }).status === 404 || (error as { status?: number }).status === 403) return;
                    await new Promise((go) => setTimeout(go, (pause = Math.min(pause * 2, 15000))));
                }
            }
        })();
        return () => { ended = true; stop.abort(); document.removeEventListener("visibilitychange", hide); };
    }, [wsid, job, path, session, store]);

    const filtered = only && matches ? matches.list : undefined;
    const base = filtered ? 0 : Math.max(0, store.total - MOST);
    const count = filtered ? filtered.length : store.total - base;
    const virtual = useVirtualizer({
        count, getScrollElement: () => box.current, estimateSize: () => HEIGHT, overscan: 12,
        getItemKey: (i) => i,
    });
    useEffect(() => { virtual.measure(); }, [wrap, filtered, path, virtual]);
    const items = virtual.getVirtualItems();
    const from = items.length ? base + items[0].index + 1 : 0, to = items.length ? base + items[items.length - 1].index + 1 : 0;
    near.current = from;

    useEffect(() => {
        if (filtered || !to) return;
        const window = store.missing(Math.max(1, from), Math.min(store.total, to));
        if (window === undefined) return;
        ask<Answer>(beneath(wsid, job, "lines", { path, line: window * WINDOW + 1, count: WINDOW }, session))
            .then((answer) => { store.take(answer, near.current); store.answered(window); draw(); })
            .catch((error) => { store.answered(window); setProblem(error); });
    });

    // The end is stayed at while it is followed.
    const total = store.total;
    useEffect(() => {
        if (!follow || filtered || !count) return;
        virtual.scrollToIndex(count - 1, { align: "end" });
        const again = requestAnimationFrame(() => { if (box.current && followed.current) box.current.scrollTop = box.current.scrollHeight; });
        return () => cancelAnimationFrame(again);
    }, [total, count, follow, filtered, virtual, store.bytes]);
    const stopFollowing = useCallback(() => { if (followed.current) { setFollow(false); setSeen(store.total); } }, [store]);
    const scrolled = () => {
        const el = box.current;
        if (el && el.scrollTop + el.clientHeight >= el.scrollHeight - 4 && !filtered) setFollow(true);
    };
    // Only a person's own act stops it; what the page does itself never looks like one.
    useEffect(() => {
        const el = box.current;
        if (!el) return;
        const up = (event: WheelEvent) => { if (event.deltaY < 0) stopFollowing(); };
        const key = (event: KeyboardEvent) => { if (["ArrowUp", "PageUp", "Home"].includes(event.key)) stopFollowing(); };
        let at = 0;
        const down = () => { at = el.scrollTop; };
        const moved = () => { if (el.scrollTop < at - 4) stopFollowing(); };
        el.addEventListener("wheel", up, { passive: true });
        el.addEventListener("keydown", key);
        el.addEventListener("pointerdown", down);
        el.addEventListener("pointerup", moved);
        el.addEventListener("touchstart", down, { passive: true });
        el.addEventListener("touchmove", moved, { passive: true });
        return () => { el.removeEventListener("wheel", up); el.removeEventListener("keydown", key); el.removeEventListener("pointerdown", down); el.removeEventListener("pointerup", moved); el.removeEventListener("touchstart", down); el.removeEventListener("touchmove", moved); };
    }, [stopFollowing]);

    const show = useCallback((line: number) => {
        setFollow(false);
        setSeen(store.total);
        virtual.scrollToIndex(Math.max(0, line - 1 - base), { align: "center" });
    }, [store, virtual, base]);
    const asked = useRef(false);
    useEffect(() => { if (chosen && total && !asked.current) { asked.current = true; show(chosen); } }, [chosen, total, show]);

    // Searched by the server, which has all of it.
    useEffect(() => {
        setMatches(undefined);
        setMatch(0);
        if (!text) { setOnly(false); return; }
        const stop = new AbortController();
        (async () => {
            const list: Match[] = [];
            let after: number | undefined = 0;
            try {
                while (after !== undefined && list.length < 5000) {
                    const page: any = await ask(beneath(wsid, job, "search", { path, q: text, limit: 1000, after }, session), { signal: stop.signal });
                    list.push(...page.matches);
                    after = page.next;
                    setMatches({ list: [...list], more: after !== undefined, searched: page.searched });
                }
            } catch (error) { if ((error as Error).name !== "AbortError") setProblem(error); }
        })();
        return () => stop.abort();
    }, [text, wsid, job, path, session, store.complete]);
    const first = useRef("");
    useEffect(() => {
        if (matches?.list.length && first.current !== text) { first.current = text; if (!only) show(matches.list[0].line); }
    }, [matches, text, show, only]);
    const step = (by: number) => {
        if (!matches?.list.length) return;
        const next = (match + by + matches.list.length) % matches.list.length;
        setMatch(next);
        if (only) virtual.scrollToIndex(next, { align: "center" }); else show(matches.list[next].line);
    };
    useEffect(() => {
        const press = (event: KeyboardEvent) => {
            if (/^(INPUT|TEXTAREA|SELECT)$/.test((event.target as HTMLElement).tagName) || event.ctrlKey || event.metaKey || event.altKey) return;
            if (event.key === "n") step(1);
            if (event.key === "N") step(-1);
            if (event.key === "f") { if (follow) stopFollowing(); else setFollow(true); }
        };
        addEventListener("keydown", press);
        return () => removeEventListener("keydown", press);
    });
    const found = useMemo(() => new Set(matches?.list.map((one) => one.line)), [matches]);
    const here = matches?.list[match]?.line;
    const digits = `${String(store.total || 1).length}ch`;
    const fresh = follow ? 0 : store.total - seen;
    const rawLink = beneath(wsid, job, "log", { path }, session);

    return (
        <div className={`log ${small ? "small" : ""}`} ref={frame}>
            <div className="log-bar">
                {logs && logs.length > 1 ? (
                    <select className="input" aria-label="Which log" value={path} onChange={(event) => onPath?.(event.target.value)}>
                        {logs.map((log) => <option key={log.path} value={log.path}>{log.path} ({bytes(log.bytes)})</option>)}
                    </select>
                ) : <span className="mono cut">{path}</span>}
                <span className="grow" />
                <SearchBox label="Find in this log" value={text} onChange={setText} />
                {text && <>
                    <span className="small soft nowrap" role="status">{matches ? `${matches.list.length ? `${number(match + 1)} of ` : ""}${number(matches.list.length)}${matches.more ? "+" : ""}` : "…"}</span>
                    <Button kind="quiet small icon" aria-label="Match before" onPress={() => step(-1)}><Icon name="up" size={14} /></Button>
                    <Button kind="quiet small icon" aria-label="Next match" onPress={() => step(1)}><Icon name="down" size={14} /></Button>
                    <button type="button" className="chip" aria-pressed={only} onClick={() => { setOnly(!only); setFollow(false); }}>Only these</button>
                </>}
                <button type="button" className="chip" aria-pressed={wrap} onClick={() => { setWrap(!wrap); localStorage.setItem("turnout.wrap", wrap ? "no" : "yes"); }}>Wrap</button>
                <a className="btn quiet small" href={rawLink} target="_blank" rel="noreferrer">Raw</a>
                <a className="btn quiet small icon" href={rawLink} download={`${job}-${path.split("/").pop()}`} aria-label="Download"><Icon name="download" size={14} /></a>
                <Button kind="quiet small icon" aria-label="Full screen" onPress={() => (document.fullscreenElement ? document.exitFullscreen() : frame.current?.requestFullscreen())}><Icon name="full" size={14} /></Button>
            </div>
            {problem !== undefined && !store.total ? <div style={{ padding: 12 }}><ErrorBox error={problem} /></div> : null}
            <div className="log-lines" ref={box} onScroll={scrolled} tabIndex={0} role="log" aria-label={`Log ${path}`} aria-live="off">
                <div style={{ height: virtual.getTotalSize(), position: "relative", minWidth: "100%" }}>
                    {items.map((item) => {
                        const line = filtered ? filtered[item.index].line : base + item.index + 1;
                        const words = filtered ? filtered[item.index].text : store.at.get(line);
                        return (
                            <div key={item.key} ref={wrap ? virtual.measureElement : undefined} data-index={item.index} data-line={line}
                                className={`log-line ${wrap ? "wrap" : ""} ${line === chosen ? "chosen" : ""} ${line === here ? "found" : ""}`}
                                style={{ transform: `translateY(${item.start}px)`, minHeight: HEIGHT }}>
                                <button type="button" className="n" tabIndex={-1} style={{ minWidth: `calc(${digits} + 20px)` }} aria-label={`Line ${line}: link to it`} onClick={() => onLine?.(line === chosen ? undefined : line)}>{line}</button>
                                <span className="t">{words === undefined ? "" : <LineText line={words} find={text && found.has(line) ? text : ""} />}</span>
                            </div>
                        );
                    })}
                </div>
            </div>
            <div className="log-foot">
                <span>{store.total ? `${number(store.total)} lines, ${bytes(store.bytes)}` : store.complete ? "it wrote nothing" : live ? "nothing yet" : ""}</span>
                <span className="grow" />
                {problem !== undefined && store.total > 0 && <span>the server does not answer; asked again</span>}
                {!store.complete && live && follow && <span className="livemark"><i />following</span>}
                {!follow && !filtered && count > 0 && <Button kind="small" icon="down" onPress={() => setFollow(true)}>{fresh > 0 ? `${number(fresh)} new ${fresh === 1 ? "line" : "lines"}` : "To the end"}</Button>}
            </div>
        </div>
    );
}

const LineText = memo(function LineText({ line, find }: { line: string; find: string }) {
    if (find) {
        const text = plain(line), out = [], part = find.toLowerCase();
        let at = 0;
        for (let next = text.toLowerCase().indexOf(part); next >= 0; next = text.toLowerCase().indexOf(part, at)) {
            out.push(text.slice(at, next), <mark key={next}>{text.slice(next, next + part.length)}</mark>);
            at = next + part.length;
        }
        out.push(text.slice(at));
        return <>{out}</>;
    }
    return <>{pieces(line).map((piece, i) => (piece.classes ? <span key={i} className={piece.classes}>{piece.text}</span> : piece.text))}</>;
});
