// A line of a log as it would stand in a terminal: what a "\r" wrote over is gone, and colours are
// classes. Everything else of a terminal's control is left out, so a log can do nothing here.
export interface Piece { text: string; classes: string }

// eslint-disable-next-line no-control-regex
const CONTROL = /\x1b\[([0-9;:?]*)([@-~])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[@-Z\\^_]|[\x00-\x08\x0b-\x1f\x7f]/g;

/** What is left of a line when all its "\r" were carried out. */
export function settled(line: string): string {
    const kept = line.endsWith("\r") ? line.slice(0, -1) : line;
    return kept.slice(kept.lastIndexOf("\r") + 1);
}

export function plain(line: string): string {
    return settled(line).replace(CONTROL, "");
}

export function pieces(line: string): Piece[] {
    const text = settled(line);
    if (!text.includes("\x1b")) return [{ text: text.replace(CONTROL, ""), classes: "" }];
    const out: Piece[] = [];
    let colour = "", bold = false, faint = false, at = 0;
    const push = (part: string) => {
        if (!part) return;
        out.push({ text: part, classes: [colour, bold ? "ansi-bold" : "", faint ? "ansi-faint" : ""].filter(Boolean).join(" ") });
    };
    for (const match of text.matchAll(CONTROL)) {
        push(text.slice(at, match.index));
        at = match.index + match[0].length;
        if (match[2] !== "m") continue;
        const codes = (match[1] || "0").split(/[;:]/).map(Number);
        for (let i = 0; i < codes.length; i++) {
            const code = codes[i];
            if (code === 0) { colour = ""; bold = faint = false; }
            else if (code === 1) bold = true;
            else if (code === 2) faint = true;
            else if (code === 22) bold = faint = false;
            else if (code >= 30 && code <= 37) colour = `ansi-${code - 30}`;
            else if (code >= 90 && code <= 97) colour = `ansi-${code - 90}`;
            else if (code === 39) colour = "";
            else if (code === 38 || code === 48) {
                if (codes[i + 1] === 5) {
                    if (code === 38 && codes[i + 2] < 16) colour = `ansi-${codes[i + 2] % 8}`;
                    i += 2;
                } else if (codes[i + 1] === 2) i += 4;
            }
        }
    }
    push(text.slice(at));
    return out.length ? out : [{ text: "", classes: "" }];
}
