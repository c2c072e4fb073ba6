// Style, script and picture of the job page, inside the page itself: it loads nothing else.
#pragma once

#include "api/portal/html.h"

namespace turnout::api::portal {

inline Html page_logo() {
    return R"(<svg class="logo" viewBox="0 0 24 24" aria-hidden="true"><path d="M3 18h18M3 18c8 0 8-12 18-12" fill="none" stroke="currentColor" stroke-width="2.4" stroke-linecap="round"/></svg>)"_html;
}

inline Html page_style() {
    return R"css(
:root{--bg:#f6f7f9;--card:#fff;--ink:#1c2430;--soft:#5d6878;--line:#e3e7ed;--accent:#2f6fde;--good:#1a7f4b;--bad:#c0392b;--live:#2f6fde;--wait:#9a6b00;--gone:#6b7280;--logbg:#11161d;--logink:#d6dee8}
@media (prefers-color-scheme:dark){:root{--bg:#12161c;--card:#1a2028;--ink:#e6ebf2;--soft:#97a3b4;--line:#2b3440;--accent:#6ea2ff;--good:#4fc487;--bad:#ff7b6b;--live:#6ea2ff;--wait:#e0b050;--gone:#97a3b4;--logbg:#0c1015}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif}
.top{display:flex;align-items:center;gap:.5rem;padding:.7rem 1.5rem;color:var(--soft);font-weight:600;border-bottom:1px solid var(--line);background:var(--card)}
.logo{width:22px;height:22px;color:var(--accent)}
main{max-width:1080px;margin:1.2rem auto 3rem;padding:0 1rem;display:grid;grid-template-columns:minmax(0,1fr);gap:1rem}
section{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:1.1rem 1.3rem}
section:empty{display:none}
h1{font-size:1.45rem;line-height:1.3;margin:0 0 .7rem;overflow-wrap:anywhere}
h3{font-size:.95rem;margin:1rem 0 .4rem}
small{color:var(--soft);font-weight:400;font-size:.85em;text-transform:none;letter-spacing:0}
h2{font-size:.82rem;text-transform:uppercase;letter-spacing:.06em;color:var(--soft);margin:0 0 .7rem}
*+h2{margin-top:1.3rem}
.badge{display:inline-block;vertical-align:middle;font-size:.8rem;font-weight:600;padding:.15rem .7rem;border-radius:99px;border:1px solid currentColor;margin-left:.3rem}
.good{color:var(--good)}.bad{color:var(--bad)}.live{color:var(--live)}.wait{color:var(--wait)}.gone{color:var(--gone)}
.badge.live::before{content:"";display:inline-block;width:.55em;height:.55em;border-radius:50%;background:currentColor;margin-right:.45em;animation:pulse 1.4s infinite}
@keyframes pulse{50%{opacity:.25}}
.facts{display:flex;flex-wrap:wrap;gap:.5rem 2rem;margin:0}
.facts dt{font-size:.75rem;color:var(--soft)}.facts dd{margin:0;font-weight:500;overflow-wrap:anywhere}
.description{margin:.8rem 0 0;color:var(--soft)}
.notice{margin:0}
#notice:has(.error){border-color:var(--bad)}
.error p{margin:0 0 .5rem}.error b{color:var(--bad)}
.error .why{white-space:pre-line;overflow-wrap:anywhere}
.command{margin:0 0 .8rem;padding:.7rem .9rem;background:var(--bg);border-radius:8px;font:12.5px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;white-space:pre-wrap;overflow-wrap:anywhere}
#details td,#attempts td{white-space:pre-line}
.where{margin:0 0 .4rem;color:var(--soft);font-size:.85rem;overflow-wrap:anywhere}
.ways{margin:.2rem 0 0;padding-left:1.2rem;color:var(--soft)}
.stopped p{margin:0 0 .5rem}.stopped .why{white-space:pre-line;overflow-wrap:anywhere}
.stopped pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:.5rem 0 0;padding:.8rem;background:var(--bg);border-radius:8px;overflow:auto;font-size:.82rem;max-height:22rem}
.list th{width:auto;white-space:nowrap;border-top:0}.list td{border-top:1px solid var(--line)}
.list td:first-child{min-width:7rem}.list .size{padding-right:1.4rem}
h2 a,h2 small{text-transform:none;letter-spacing:0;font-weight:400;font-size:1.05em}
.list .badge{margin:0}.isbest td{background:color-mix(in srgb,var(--good) 12%,transparent)}
.scroll{overflow-x:auto}.scroll td{overflow-wrap:normal}.scroll td:last-child{min-width:16rem;overflow-wrap:anywhere}
.pages{margin:.3rem 0 .6rem;color:var(--soft);font-size:.9rem}.pages a{margin:0 .3rem}
.wide{display:block;width:100%}
.wide text{font-size:12.5px;fill:var(--soft);paint-order:stroke;stroke:var(--card);stroke-width:3px;stroke-linejoin:round}
.wide .name{fill:var(--ink);font-weight:600}.mid{text-anchor:middle}
.axis{stroke:var(--soft)}.bestline{fill:none;stroke:var(--good);stroke-width:1.6;stroke-dasharray:5 4}
.p-good{fill:var(--accent);fill-opacity:.75}.p-gone{fill:var(--gone);fill-opacity:.6}.p-live{fill:none;stroke:var(--accent);stroke-width:1.5}.p-bad{fill:var(--bad)}
.q{fill:none;stroke-width:1.3;stroke:var(--soft);stroke-opacity:.25}.q1{stroke:#8aa4c8;stroke-opacity:.35}.q2{stroke:#5b8fd9;stroke-opacity:.45}.q3{stroke:var(--accent);stroke-opacity:.6}.q4{stroke:var(--good);stroke-opacity:.9;stroke-width:1.8}
.t-good{fill:#4caf7d}.t-odd{fill:#e0a63c}.t-bad{fill:#d0675c}.t-early{fill:#7cc4d8}.t-gone{fill:#8d99ab}.t-live{fill:#3b82d9}.t-none{fill:#d5dae2}
.error pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:.5rem 0 0;padding:.8rem;background:var(--bg);border-radius:8px;overflow:auto;font-size:.82rem;max-height:22rem}
.timeline{display:block;width:100%;height:28px;border-radius:6px}
.legend{display:flex;flex-wrap:wrap;gap:.3rem 1.4rem;list-style:none;margin:.8rem 0 0;padding:0;color:var(--soft);font-size:.88rem}
.legend b{color:var(--ink);font-weight:600}
.dot{width:10px;height:10px;margin-right:.45rem}
.e-queue{fill:#b8c0cc}.e-node_start{fill:#8d99ab}.e-snapshot{fill:#7cc4d8}.e-environment{fill:#e0a63c}.e-inputs{fill:#9b7fd1}.e-user_code{fill:#3b82d9}.e-outputs{fill:#4caf7d}.e-retry{fill:#d0675c}.e-preempted{fill:#c98bb9}.e-quota{fill:#cdbb8a}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(250px,1fr));gap:.9rem;align-items:start}
figure{margin:0;border:1px solid var(--line);border-radius:10px;padding:.6rem .8rem}
figcaption{display:flex;justify-content:space-between;gap:.6rem;font-size:.88rem;overflow-wrap:anywhere}
.chart{display:block;width:100%;margin-top:.3rem}
.line{fill:none;stroke:var(--accent);stroke-width:1.8;stroke-linejoin:round;vector-effect:non-scaling-stroke}
.end{fill:var(--accent)}.grid{stroke:var(--line)}
.chart text{font-size:10px;fill:var(--soft);paint-order:stroke;stroke:var(--card);stroke-width:3px;stroke-linejoin:round}.range{text-anchor:end}
table{width:100%;border-collapse:collapse;font-size:.9rem}
th,td{text-align:left;vertical-align:top;padding:.35rem .4rem;border-top:1px solid var(--line);overflow-wrap:anywhere;font-weight:400}
tr:first-child>*{border-top:0}
th{width:34%;color:var(--soft)}
.size{text-align:right;white-space:nowrap;color:var(--soft)}
a{color:var(--accent);text-decoration:none}a:hover{text-decoration:underline}
.pictures{display:flex;flex-wrap:wrap;gap:.8rem;margin-bottom:.9rem}
.pictures img{display:block;max-height:260px;max-width:100%;background:#fff;border:1px solid var(--line);border-radius:8px}
.more{color:var(--soft);margin:.6rem 0 0}
#log{margin:0;background:var(--logbg);color:var(--logink);border-radius:8px;padding:.9rem 1rem;font:12.5px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;max-height:34rem;min-height:3.4rem;overflow:auto;white-space:pre-wrap;overflow-wrap:anywhere}
)css"_html;
}

// Without it the page is a picture of one moment; with it, it lives.
inline Html page_script() {
    return R"js(
(() => {
  'use strict';
  const body = document.body, base = body.dataset.base, query = body.dataset.query || '', live = body.dataset.live || '';
  const join = query ? '&' : '?';
  const log = document.getElementById('log');
  const sleep = ms => new Promise(done => setTimeout(done, ms));
  log.scrollTop = log.scrollHeight;
  const last = {};
  let path = log.dataset.path, turn = new AbortController();
  async function refresh() {
    for (let failures = 0;;) {
      try {
        const answer = await fetch(base + '/data' + live, {cache: 'no-store'});
        if (!answer.ok) { if (answer.status < 500) return; throw 0; }
        const data = await answer.json();
        failures = 0;
        document.title = data.title;
        if (data.log !== path) { path = data.log; turn.abort(); }
        for (const [id, html] of Object.entries(data.fragments)) {
          if (last[id] === html) continue;
          last[id] = html;
          document.getElementById(id).innerHTML = html;
        }
        if (data.terminal) return;
      } catch { failures++; }
      await sleep(Math.min(2000 * (failures + 1), 30000));
    }
  }
  async function follow() {
    let decoder, shown, offset, kept;
    const begin = () => { decoder = new TextDecoder(); shown = path; offset = 0; kept = ''; };
    begin();
    offset = Number(log.dataset.length);
    kept = log.textContent;
    for (let failures = 0;;) {
      try {
        if (shown !== path) begin();
        turn = new AbortController();
        const answer = await fetch(base + '/log' + query + join + 'wait=25&offset=' + offset + '&path=' + encodeURIComponent(path), {cache: 'no-store', signal: turn.signal});
        if (!answer.ok) { if (answer.status < 500) return; throw 0; }
        const length = Number(answer.headers.get('X-Turnout-Log-Length'));
        if (length < offset) { begin(); continue; }
        const bytes = await answer.arrayBuffer();
        failures = 0;
        if (bytes.byteLength) {
          offset += bytes.byteLength;
          const fresh = decoder.decode(bytes, {stream: true}).replace(/\x1b\[[0-?]*[ -\/]*[@-~]/g, '');
          kept = (kept + fresh).replace(/[^\n]*\r(?!\n|$)/g, '').slice(-2000000);
          const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
          log.textContent = kept;
          if (atEnd) log.scrollTop = log.scrollHeight;
        } else if (answer.headers.get('X-Turnout-Log-Complete') === 'true') return;
      } catch { if (shown === path) await sleep(Math.min(1000 * ++failures, 15000)); }
    }
  }
  if (!('terminal' in body.dataset)) { refresh(); follow(); }
})();
)js"_html;
}

// MLflow's clients print "{server}/#/experiments/7/runs/NAME": what is behind '#' stays in the
// browser.
inline Html front_script() {
    return R"js(
(() => {
  const run = /\/runs\/([A-Za-z0-9_-]{1,255})/.exec(location.hash);
  if (run) document.getElementById('run').textContent = run[1];
})();
)js"_html;
}

}  // namespace turnout::api::portal
