// What all screens are made of.
import { useQuery, type UseQueryResult } from "@tanstack/react-query";
import { useEffect, useRef, useState, useSyncExternalStore, type ReactNode } from "react";
import { Button as AriaButton, type ButtonProps } from "react-aria-components/Button";
import { Dialog as AriaDialog } from "react-aria-components/Dialog";
import { Heading } from "react-aria-components/Heading";
import { Menu as AriaMenu, MenuItem, MenuTrigger } from "react-aria-components/Menu";
import { Modal, ModalOverlay } from "react-aria-components/Modal";
import { Popover } from "react-aria-components/Popover";
import { Radio, RadioGroup } from "react-aria-components/RadioGroup";
import { ApiError } from "../api/client";
import { parseTime, shortTime, span, timeInWords } from "../lib/time";
import { Icon } from "./icons";

// ---- words

export function Button({ kind = "", icon, children, ...rest }: ButtonProps & { kind?: string; icon?: string; children?: ReactNode }) {
    return <AriaButton {...rest} className={`btn ${kind}`}>{icon && <Icon name={icon} />}{children}</AriaButton>;
}

const SIGN: Record<string, string> = {
    Queued: "queued", NotStarted: "queued", Paused: "queued", Unknown: "queued", Preparing: "preparing", Provisioning: "preparing", Starting: "preparing",
    Running: "running", Finalizing: "finalizing", Completed: "completed", Failed: "failed", NotResponding: "failed", Canceled: "canceled", CancelRequested: "canceled",
};
export const isOver = (status?: string) => status === "Completed" || status === "Failed" || status === "Canceled";
export const StatusBadge = ({ status }: { status: string }) => (
    <span className={`status ${status}`}><Icon name={`s_${SIGN[status] ?? "queued"}`} />{status}</span>
);
/** For what is no job: a word with the sign of a status that looks like it. */
export const StateBadge = ({ state, like }: { state: string; like: string }) => (
    <span className={`status ${like}`}><Icon name={`s_${SIGN[like] ?? "queued"}`} />{state}</span>
);

export function Time({ at }: { at?: string | null }) {
    const date = parseTime(at);
    return date ? <time dateTime={date.toISOString()} title={timeInWords(date)} className="nowrap">{shortTime(date)}</time> : null;
}

/** How long from then to then, or until now; ticks while it goes on. */
export function Took({ from, to }: { from?: string | null; to?: string | null }) {
    const [, tick] = useState(0);
    useEffect(() => {
        if (!from || to) return;
        const timer = setInterval(() => tick((n) => n + 1), 1000);
        return () => clearInterval(timer);
    }, [from, to]);
    const begin = parseTime(from), end = parseTime(to);
    if (!begin) return null;
    const micros = Math.max(0, (end ?? new Date()).getTime() - begin.getTime()) * 1000;
    return <span className="nowrap">{to ? span(micros) : span(Math.floor(micros / 1e6) * 1e6).replace(".0 s", " s")}</span>;
}

export const Tags = ({ tags }: { tags?: Record<string, unknown> | null }) => (
    <>{Object.entries(tags ?? {}).map(([name, value]) => <span className="tag" key={name}>{name}{value !== "" && `: ${value}`}</span>)}</>
);

export function Facts({ rows }: { rows: [string, ReactNode][] }) {
    return (
        <dl className="facts">
            {rows.filter(([, value]) => value !== undefined && value !== null && value !== "" && value !== false).map(([name, value]) => (
                <div key={name} style={{ display: "contents" }}><dt>{name}</dt><dd>{value}</dd></div>
            ))}
        </dl>
    );
}

export function Copy({ text, label = "Copy" }: { text: string; label?: string }) {
    const [done, setDone] = useState(false);
    return (
        <Button kind="quiet small icon" aria-label={done ? "Copied" : label} onPress={async () => {
            await navigator.clipboard.writeText(text).catch(() => toast("this browser does not let pages copy", true));
            setDone(true);
            setTimeout(() => setDone(false), 1500);
        }}><Icon name={done ? "s_completed" : "copy"} size={14} /></Button>
    );
}
export const Command = ({ text }: { text: string }) => (
    <div className="command"><pre>{text}</pre><Copy text={text} label="Copy the command" /></div>
);

export const Card = ({ title, extra, children, pad = true, kind = "" }: { title?: ReactNode; extra?: ReactNode; children?: ReactNode; pad?: boolean; kind?: string }) => (
    <section className={`card ${kind}`}>
        {title && <header><h2 className="grow">{title}</h2>{extra}</header>}
        {pad ? <div className="body">{children}</div> : children}
    </section>
);

export function PageHead({ title, note, crumb, children }: { title: ReactNode; note?: ReactNode; crumb?: ReactNode; children?: ReactNode }) {
    return (
        <div className="page-head">
            <div className="titles">{crumb && <div className="crumb">{crumb}</div>}<h1>{title}</h1>{note && <p>{note}</p>}</div>
            <div className="row">{children}</div>
        </div>
    );
}

export function useTitle(title: string) {
    useEffect(() => { document.title = title ? `${title} · Turnout` : "Turnout"; }, [title]);
}

export function Tabs({ tabs, value, onChange, label }: { tabs: [string, ReactNode][]; value: string; onChange: (tab: string) => void; label: string }) {
    const box = useRef<HTMLDivElement>(null);
    const step = (by: number) => {
        const at = tabs.findIndex(([id]) => id === value), next = tabs[(at + by + tabs.length) % tabs.length][0];
        onChange(next);
        requestAnimationFrame(() => box.current?.querySelector<HTMLElement>('[aria-selected="true"]')?.focus());
    };
    return (
        <div className="tabs" role="tablist" aria-label={label} ref={box} onKeyDown={(event) => {
            if (event.key === "ArrowRight") step(1);
            if (event.key === "ArrowLeft") step(-1);
        }}>
            {tabs.map(([id, words]) => (
                <button key={id} type="button" role="tab" className="tab" aria-selected={id === value} tabIndex={id === value ? 0 : -1} onClick={() => onChange(id)}>{words}</button>
            ))}
        </div>
    );
}

// ---- what is not there (yet)

export const Skeleton = ({ lines = 4 }: { lines?: number }) => (
    <div className="body" style={{ padding: 16 }} role="status" aria-busy="true" aria-label="Loading">
        {Array.from({ length: lines }, (_, i) => <div className="skeleton" key={i} style={{ width: `${90 - ((i * 37) % 50)}%` }} />)}
    </div>
);

export function ErrorBox({ error, retry }: { error: unknown; retry?: () => void }) {
    const { message, code, target, requestId } = error as ApiError;
    return (
        <div className="error" role="alert">
            <span className="status Failed"><Icon name="s_failed" /></span>
            <div className="grow">
                {message}
                <div className="small soft">{[code, target && `at '${target}'`, requestId && `request ${requestId}`].filter(Boolean).join(" · ")}</div>
            </div>
            {retry && <Button kind="small" onPress={retry}>Try again</Button>}
        </div>
    );
}

export const Empty = ({ title, children, command }: { title: string; children?: ReactNode; command?: string }) => (
    <div className="empty"><strong>{title}</strong>{children}{command && <Command text={command} />}</div>
);

/** A part of a page that asks for something: while it waits, if it fails, and what it got. */
export function Loaded<T>({ of, children, lines }: { of: UseQueryResult<T>; children: (data: T) => ReactNode; lines?: number }) {
    if (of.data !== undefined) return <>{children(of.data)}</>;
    if (of.error) return <ErrorBox error={of.error} retry={() => of.refetch()} />;
    return <Skeleton lines={lines} />;
}
export { useQuery };

// ---- what floats

export function Dialog({ open, onClose, title, children, footer, wide }: { open: boolean; onClose: () => void; title: string; children: ReactNode; footer?: ReactNode; wide?: boolean }) {
    return (
        <ModalOverlay className="overlay" isOpen={open} onOpenChange={(is) => !is && onClose()} isDismissable>
            <Modal className={`dialog ${wide ? "wide" : ""}`}>
                <AriaDialog>
                    <header><Heading slot="title" level={2}>{title}</Heading><Button kind="quiet icon" aria-label="Close" onPress={onClose}><Icon name="close" /></Button></header>
                    <div className="body">{children}</div>
                    {footer && <footer>{footer}</footer>}
                </AriaDialog>
            </Modal>
        </ModalOverlay>
    );
}

export interface MenuEntry { id: string; words: ReactNode; danger?: boolean; disabled?: boolean; act: () => void }
export function Menu({ label, children, entries, kind = "", icon }: { label: string; children?: ReactNode; entries: MenuEntry[]; kind?: string; icon?: string }) {
    return (
        <MenuTrigger>
            <Button kind={kind} icon={icon} aria-label={label}>{children}</Button>
            <Popover className="popover" placement="bottom end">
                <AriaMenu className="menu" aria-label={label} onAction={(key) => entries.find((entry) => entry.id === key)?.act()}>
                    {entries.map((entry) => (
                        <MenuItem key={entry.id} id={entry.id} isDisabled={entry.disabled} textValue={typeof entry.words === "string" ? entry.words : entry.id} className={`menuitem ${entry.danger ? "danger" : ""}`}>{entry.words}</MenuItem>
                    ))}
                </AriaMenu>
            </Popover>
        </MenuTrigger>
    );
}

interface Toast { id: number; words: string; bad: boolean }
let toasts: Toast[] = [], number = 0;
const heard = new Set<() => void>();
const change = (next: Toast[]) => { toasts = next; heard.forEach((tell) => tell()); };
export function toast(words: string, bad = false) {
    const one = { id: ++number, words, bad };
    change([...toasts.slice(-3), one]);
    setTimeout(() => change(toasts.filter((other) => other !== one)), bad ? 12000 : 5000);
}
export function Toasts() {
    const shown = useSyncExternalStore((tell) => { heard.add(tell); return () => heard.delete(tell); }, () => toasts);
    return (
        <div className="toasts" role="status" aria-live="polite">
            {shown.map((one) => (
                <div key={one.id} className={`toast ${one.bad ? "bad" : ""}`}>
                    <span className="grow">{one.words}</span>
                    <Button kind="quiet small icon" aria-label="Dismiss" onPress={() => change(toasts.filter((other) => other !== one))}><Icon name="close" size={12} /></Button>
                </div>
            ))}
        </div>
    );
}
/** Does it, and tells how it went. */
export async function act(words: string, what: () => Promise<unknown>): Promise<boolean> {
    try {
        await what();
        if (words) toast(words);
        return true;
    } catch (error) {
        toast((error as Error).message, true);
        return false;
    }
}

/** Asks before something is gone; by name where that is said. */
export function Confirm({ title, children, verb, name, onClose, onYes }: { title: string; children: ReactNode; verb: string; name?: string; onClose: () => void; onYes: () => void }) {
    const [typed, setTyped] = useState("");
    return (
        <Dialog open onClose={onClose} title={title} footer={<>
            <Button onPress={onClose}>Keep</Button>
            <Button kind="danger" isDisabled={name !== undefined && typed !== name} onPress={() => { onClose(); onYes(); }}>{verb}</Button>
        </>}>
            {children}
            {name !== undefined && <Field label={`Type ${name} to confirm`} value={typed} onChange={setTyped} />}
        </Dialog>
    );
}

// ---- forms

let fields = 0;
export function useId(): string {
    return useState(() => `f${++fields}`)[0];
}
interface FieldProps { label: string; value: string; onChange: (value: string) => void; hint?: ReactNode; problem?: string; type?: string; lines?: number; placeholder?: string; options?: (string | [string, string])[]; autoFocus?: boolean; autoComplete?: string }
export function Field({ label, value, onChange, hint, problem, type = "text", lines, placeholder, options, autoFocus, autoComplete = "off" }: FieldProps) {
    const id = useId();
    const common = { id, value, placeholder, autoFocus, autoComplete, spellCheck: false, "aria-invalid": problem ? (true as const) : undefined, "aria-describedby": `${id}h`, onChange: (event: { target: { value: string } }) => onChange(event.target.value) };
    return (
        <div className="field">
            <label htmlFor={id}>{label}</label>
            {options ? (
                <select {...common}>{options.map((option) => (typeof option === "string" ? <option key={option}>{option}</option> : <option key={option[0]} value={option[0]}>{option[1]}</option>))}</select>
            ) : lines ? <textarea {...common} rows={lines} /> : <input {...common} type={type} />}
            <div id={`${id}h`}>{problem ? <span className="problem">{problem}</span> : hint && <span className="hint">{hint}</span>}</div>
        </div>
    );
}

export function Choices({ label, value, onChange, options }: { label: string; value: string; onChange: (value: string) => void; options: { id: string; title: string; words?: ReactNode; disabled?: boolean }[] }) {
    return (
        <RadioGroup className="choices" aria-label={label} value={value} onChange={onChange}>
            {options.map((option) => (
                <Radio key={option.id} value={option.id} isDisabled={option.disabled} className="choice">
                    <span className="dot" /><span className="grow"><b>{option.title}</b>{option.words && <div className="small soft">{option.words}</div>}</span>
                </Radio>
            ))}
        </RadioGroup>
    );
}

/** What is typed reaches the caller when it pauses. */
export function SearchBox({ value, onChange, label, wait = 250 }: { value: string; onChange: (value: string) => void; label: string; wait?: number }) {
    const [text, setText] = useState(value);
    const sent = useRef(value);
    useEffect(() => { if (value !== sent.current) { sent.current = value; setText(value); } }, [value]);
    useEffect(() => {
        if (text === sent.current) return;
        const timer = setTimeout(() => { sent.current = text; onChange(text); }, wait);
        return () => clearTimeout(timer);
    });
    return <span className="search"><Icon name="search" size={14} /><input className="input" type="search" data-search aria-label={label} placeholder={label} value={text} onChange={(event) => setText(event.target.value)} /></span>;
}
