/** "0 B", "12.4 KiB", "1.02 GiB". */
export function bytes(count: number): string {
    const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let unit = 0;
    while (count >= 1024 && unit < units.length - 1) { count /= 1024; unit++; }
    return `${unit === 0 ? count : count.toPrecision(3)} ${units[unit]}`;
}

export const number = (value: number) => value.toLocaleString("en-US");

/** Six digits, "NaN", "∞". */
export function figure(value: number | null | undefined): string {
    if (value === null || value === undefined) return "–";
    if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value > 0 ? "∞" : "-∞";
    if (value !== 0 && (Math.abs(value) < 1e-4 || Math.abs(value) >= 1e7)) return value.toExponential(3);
    return String(Number(value.toPrecision(6)));
}
