import { figure } from "../../lib/bytes";
import { token } from "../../ui/theme";
import { useCanvas, type Trial } from "./Sweep";

/** The metric over the trials' numbers, and the best until each of them as a line. */
export function Scores({ trials, maximize, metric }: { trials: Trial[]; maximize: boolean; metric: string }) {
    const height = 220;
    const canvas = useCanvas(height, (context, width) => {
        const scored = trials.filter((trial) => trial.score !== undefined && Number.isFinite(trial.score));
        const low = Math.min(...scored.map((trial) => trial.score!)), high = Math.max(...scored.map((trial) => trial.score!));
        const first = trials[0].index, last = Math.max(trials[trials.length - 1].index, first + 1);
        const x = (index: number) => 56 + ((index - first) / (last - first)) * (width - 72);
        const y = (score: number) => 12 + (1 - (score - low) / (high - low || 1)) * (height - 44);
        context.strokeStyle = token("--line");
        context.fillStyle = token("--soft");
        context.textAlign = "right";
        for (let i = 0; i <= 4; i++) {
            const value = low + ((high - low) * i) / 4;
            context.beginPath();
            context.moveTo(56, y(value));
            context.lineTo(width - 12, y(value));
            context.stroke();
            context.fillText(figure(Number(value.toPrecision(3))), 50, y(value) + 4);
        }
        context.textAlign = "center";
        context.fillText(`trial ${first}`, 76, height - 8);
        context.fillText(`${last}`, width - 20, height - 8);
        context.strokeStyle = token("--completed");
        context.lineWidth = 1.8;
        context.beginPath();
        let best: number | undefined;
        for (const trial of scored) {
            const before = best;
            best = best === undefined ? trial.score! : maximize ? Math.max(best, trial.score!) : Math.min(best, trial.score!);
            if (before === undefined) context.moveTo(x(trial.index), y(best));
            else { context.lineTo(x(trial.index), y(before)); context.lineTo(x(trial.index), y(best)); }
        }
        context.stroke();
        context.fillStyle = token("--accent");
        for (const trial of scored) { context.beginPath(); context.arc(x(trial.index), y(trial.score!), 3, 0, 7); context.fill(); }
        context.fillStyle = token("--failed");
        for (const trial of trials) if (trial.status === "Failed") context.fillRect(x(trial.index) - 2, height - 30, 4, 8);
    }, trials);
    return <canvas ref={canvas} className="canvas" style={{ height }} role="img" aria-label={`${metric} of ${trials.length} trials; the line is the best until then`} />;
}
