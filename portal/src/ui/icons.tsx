// The portal's own signs, drawn on a field of 16 by 16.
const PATHS: Record<string, string> = {
    home: "M2.5 7.5 8 3l5.5 4.5M4 6.5V13h8V6.5",
    jobs: "M3 3h10v3.2H3zM3 9.8h10V13H3zM5.2 4.6h.01M5.2 11.4h.01",
    compute: "M4.5 4.5h7v7h-7zM6.5 2v2.5M9.5 2v2.5M6.5 11.5V14M9.5 11.5V14M2 6.5h2.5M2 9.5h2.5M11.5 6.5H14M11.5 9.5H14",
    data: "M8 6.2c2.8 0 5-.8 5-1.8S10.800 2.600 8 2.600 3 3.400 3 4.400s2.200 1.800 5 1.800ZM3 4.400v7.200c0 1 2.200 1.800 5 1.800s5-.8 5-1.800V4.400M3 8c0 1 2.200 1.800 5 1.800S13 9 13 8",
    models: "M8 2l5.200 3v6L8 14l-5.200-3V5zM2.800 5 8 8l5.200-3M8 8v6",
    environments: "M8 2.500 14 5.500 8 8.500 2 5.500zM2 8l6 3 6-3M2 10.500l6 3 6-3",
    components: "M3 3h4v4H3zM9 9h4v4H9zM7 5h4v4",
    datastores: "M2.500 4h11v3.200h-11zM2.500 8.800h11V12h-11zM11 5.600h.01M11 10.400h.01",
    endpoints: "M3 8h7M7 4.500 10.500 8 7 11.500M13 3v10",
    schedules: "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12ZM8 4.800V8l2.200 1.600",
    events: "M2 8h2.500L6 4l3.500 8L11 8h3",
    people: "M6 7.500a2.300 2.300 0 1 0 0-4.600 2.300 2.300 0 0 0 0 4.600ZM2 13c.2-2.400 1.800-3.700 4-3.700s3.800 1.300 4 3.700M10.800 7.300a2 2 0 1 0-.6-3.900M11.500 9.500c1.500.3 2.400 1.500 2.500 3.500",
    settings: "M8 10.200a2.200 2.200 0 1 0 0-4.400 2.200 2.200 0 0 0 0 4.400ZM8 1.800v2M8 12.200v2M1.800 8h2M12.200 8h2M3.600 3.600 5 5M11 11l1.400 1.400M12.400 3.600 11 5M5 11l-1.400 1.400",
    search: "M7 11.500a4.500 4.500 0 1 0 0-9 4.500 4.500 0 0 0 0 9ZM10.300 10.300 14 14",
    sun: "M8 11a3 3 0 1 0 0-6 3 3 0 0 0 0 6ZM8 1.500v1.500M8 13v1.500M1.500 8H3M13 8h1.500M3.400 3.400l1 1M11.600 11.600l1 1M12.600 3.400l-1 1M4.400 11.600l-1 1",
    moon: "M13.500 9.500A6 6 0 0 1 6.500 2.500a6 6 0 1 0 7 7Z",
    plus: "M8 3v10M3 8h10",
    close: "M4 4l8 8M12 4l-8 8",
    more: "M3.500 8h.01M8 8h.01M12.500 8h.01",
    down: "M4 6l4 4 4-4",
    up: "M4 10l4-4 4 4",
    right: "M6 4l4 4-4 4",
    left: "M10 4 6 8l4 4",
    copy: "M5.500 5.500h8v8h-8zM10.500 5.500v-3h-8v8h3",
    download: "M8 2.500v8M4.500 7.500 8 11l3.500-3.500M3 13.500h10",
    open: "M6.500 3H3v10h10V9.500M9 3h4v4M13 3 7.500 8.500",
    play: "M5 3.500v9l7.500-4.500z",
    stop: "M4.500 4.500h7v7h-7z",
    restart: "M13 8a5 5 0 1 1-1.500-3.600M13 2.500v3h-3",
    trash: "M3 4.500h10M6.500 4.500v-2h3v2M4.500 4.500 5 13.500h6l.5-9",
    full: "M3 6V3h3M10 3h3v3M13 10v3h-3M6 13H3v-3",
    file: "M4 2.500h5l3 3v8H4zM9 2.500v3h3",
    menu: "M2.500 4.500h11M2.500 8h11M2.500 11.500h11",
    pause: "M5.500 3.500v9M10.500 3.500v9",
    key: "M5.500 11a2.500 2.500 0 1 0 0-5 2.500 2.500 0 0 0 0 5ZM8 8.500h6M12 8.500v2.500",
    // Statuses: the shape alone tells them apart.
    s_queued: "M8 13.500a5.500 5.500 0 1 0 0-11 5.500 5.500 0 0 0 0 11ZM8 5v3.200l2 1.300",
    s_preparing: "M8 2.500a5.500 5.500 0 0 1 2.800.8M12.700 5.200A5.500 5.500 0 0 1 13.500 8M12.700 10.800a5.500 5.500 0 0 1-1.900 1.900M8 13.500a5.500 5.500 0 0 1-2.800-.8M3.300 10.800A5.500 5.500 0 0 1 2.500 8M3.300 5.200a5.500 5.500 0 0 1 1.900-1.900",
    s_running: "M5 3v10l8-5z",
    s_finalizing: "M8 13V5M4.500 8 8 4.500 11.500 8M4 2.500h8",
    s_completed: "M3 8.500 6.500 12 13 4.500",
    s_failed: "M4 4l8 8M12 4l-8 8",
    s_canceled: "M8 13.500a5.500 5.500 0 1 0 0-11 5.500 5.500 0 0 0 0 11ZM4.200 11.800l7.600-7.600",
};

export function Icon({ name, size = 16 }: { name: string; size?: number }) {
    const solid = name === "s_running" || name === "play" || name === "stop";
    return (
        <svg width={size} height={size} viewBox="0 0 16 16" fill={solid ? "currentColor" : "none"} stroke="currentColor"
            strokeWidth={name === "more" ? 2.4 : name.startsWith("s_") ? 1.8 : 1.4} strokeLinecap="round" strokeLinejoin="round" aria-hidden="true">
            <path d={PATHS[name] ?? PATHS.file} />
        </svg>
    );
}

export function Logo({ size = 22 }: { size?: number }) {
    return (
        <svg width={size} height={size} viewBox="0 0 24 24" fill="none" stroke="currentColor" strokeWidth="2.4" strokeLinecap="round" aria-hidden="true">
            <path d="M3 18h18" /><path d="M3 18c7 0 8-12 18-12" />
        </svg>
    );
}
