// usage: node pack.mjs DIST OUT
//
// Puts what vite built into one file, of which the executable is a carrier; its form is told in
// src/api/studio/pack.h.
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { extname, join, relative } from "node:path";
import { gzipSync } from "node:zlib";

const TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".woff2": "font/woff2",
};

const [dist, out] = process.argv.slice(2);
const files = [];
(function walk(folder) {
    for (const name of readdirSync(folder).sort()) {
        const path = join(folder, name);
        if (statSync(path).isDirectory()) walk(path);
        else files.push(path);
    }
})(dist);

let head = "turnout-portal 1\n";
const bodies = [];
for (const file of files) {
    const path = relative(dist, file);
    const type = TYPES[extname(path)];
    if (!type) throw new Error(`${path}: no media type is known for it`);
    const bytes = readFileSync(file);
    const plain = path === "index.html"; // a nonce is written into it
    const body = plain ? bytes : gzipSync(bytes, { level: 9 });
    head += [path, type, createHash("sha256").update(bytes).digest("hex"), plain ? "plain" : "gzip", body.length].join("\t") + "\n";
    bodies.push(body);
}
writeFileSync(out, Buffer.concat([Buffer.from(head + "\n"), ...bodies]));
