// The course of metrics, asked for when a chart is looked at.
import { ask } from "../../api/client";
import { beneath } from "../../api/jobs";

export interface Series { key: string; points: number; shown: number; notNumbers: number; step: number[]; time: number[]; first?: number[]; last: number[]; min?: number[]; max?: number[] }

export async function series(wsid: string, job: string, key: string, session: boolean, zoom?: [number, number]): Promise<Series> {
    const page = await ask<{ series: Series[] }>(beneath(wsid, job, "series", { key, buckets: 600, from: zoom && Math.max(0, Math.floor(zoom[0])), to: zoom && Math.max(0, Math.ceil(zoom[1])) }, session));
    return page.series[0];
}

/** Debiased exponential moving average: each point weighs `weight` times the one before it. */
export function smooth(values: number[], weight: number): number[] {
    if (weight <= 0) return values;
    let sum = 0, norm = 0;
    return values.map((value) => {
        sum = sum * weight + value * (1 - weight);
        norm = norm * weight + (1 - weight);
        return sum / norm;
    });
}
