// Files by folder; text and pictures are shown here, by the portal itself, and nothing that a job
// wrote ever acts on the page.
import { useState } from "react";
import { ask } from "../../api/client";
import type { File } from "../../api/jobs";
import { bytes } from "../../lib/bytes";
import { Icon } from "../../ui/icons";
import { Dialog, Loaded, useQuery } from "../../ui/kit";

const IMAGE = /\.(png|jpe?g|gif|webp)$/i, TEXT = /\.(txt|log|json|csv|ya?ml|md|py)$/i;
const MOST_TEXT = 512 << 10;

export function Files({ files, more, link }: { files: File[]; more: boolean; link: (file: File) => string }) {
    const [shown, setShown] = useState<File>();
    const folders = new Map<string, File[]>();
    for (const file of files) {
        const folder = file.path.slice(0, file.path.lastIndexOf("/") + 1);
        folders.set(folder, [...(folders.get(folder) ?? []), file]);
    }
    return (
        <>
            {[...folders].map(([folder, inside]) => (
                <details key={folder} open>
                    {folder ? <summary className="mono soft" style={{ cursor: "pointer", padding: "6px 0" }}>{folder} ({inside.length})</summary> : <summary className="visually-hidden">files</summary>}
                    <ul className="files">{inside.map((file) => (
                        <li key={file.path}><Icon name="file" size={14} />
                            {IMAGE.test(file.path) || (TEXT.test(file.path) && file.bytes <= MOST_TEXT)
                                ? <button type="button" className="linkish grow cut" onClick={() => setShown(file)}>{file.path.slice(folder.length)}</button>
                                : <span className="grow cut">{file.path.slice(folder.length)}</span>}
                            <span className="soft small nowrap">{bytes(file.bytes)}</span>
                            <a className="btn quiet small icon" href={link(file)} download aria-label={`Download ${file.path}`}><Icon name="download" size={14} /></a>
                        </li>
                    ))}</ul>
                </details>
            ))}
            {more && <p className="soft small">There are more files than are listed here.</p>}
            {shown && <Dialog open wide onClose={() => setShown(undefined)} title={shown.path}>{IMAGE.test(shown.path) ? <img className="preview" src={link(shown)} alt={shown.path} /> : <Text address={link(shown)} />}</Dialog>}
        </>
    );
}

function Text({ address }: { address: string }) {
    const found = useQuery({ queryKey: ["file", address], queryFn: () => ask<string>(address, { raw: true }) });
    return <Loaded of={found}>{(text) => <pre style={{ maxHeight: "65vh", overflow: "auto" }}>{text}</pre>}</Loaded>;
}
