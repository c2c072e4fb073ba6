// Computes as the public API has them, in the words that the portal shows.
import { arm } from "../../api/client";
import { number } from "../../lib/bytes";

export type Family = "clusters" | "instances" | "attached" | "kubernetes" | "other";
export const FAMILIES: [Family, string][] = [["clusters", "Clusters"], ["instances", "Instances"], ["attached", "Attached machines"], ["kubernetes", "Kubernetes"], ["other", "Other"]];

export function familyOf(compute: any): Family {
    switch (compute.properties.computeType) {
        case "AmlCompute": return "clusters";
        case "ComputeInstance": return "instances";
        case "VirtualMachine": return "attached";
        case "Kubernetes": return "kubernetes";
        default: return "other";
    }
}
/** Its state in a word, and the status of a job whose sign and colour fit. */
export function stateOf(compute: any): [string, string] {
    const { provisioningState, properties: inner } = compute.properties;
    if (compute.properties.computeType === "ComputeInstance") {
        const state: string = inner.state;
        return [state, /Failed|Unusable/.test(state) ? "Failed" : /ing$/.test(state) && !/Running/.test(state) ? "Preparing" : /Running/.test(state) ? "Running" : "Canceled"];
    }
    if (provisioningState === "Succeeded") return [inner?.allocationState === "Resizing" ? "Resizing" : provisioningState, inner?.allocationState === "Resizing" ? "Preparing" : "Completed"];
    return [provisioningState, provisioningState === "Failed" ? "Failed" : "Preparing"];
}
export const problemOf = (compute: any): string | undefined => {
    const found = compute.properties.provisioningErrors ?? compute.properties.properties?.errors;
    return found?.map?.((one: any) => one.error?.message ?? one.message).filter(Boolean).join("; ") || undefined;
};
export function nodesOf(compute: any): string {
    const inner = compute.properties.properties ?? {};
    if (inner.scaleSettings) return `${number(inner.currentNodeCount ?? 0)} of ${number(inner.scaleSettings.maxNodeCount)}`;
    return "";
}
export const sizeOf = (compute: any): string => compute.properties.properties?.vmSize ?? compute.properties.properties?.address ?? "";
export const tierOf = (compute: any) => ({ LowPriority: "low priority", Dedicated: "dedicated" })[compute.properties.properties?.vmPriority as string] ?? "";
export const instanceDo = (name: string, verb: string) => arm(`computes/${name}/${verb}`, {}, { method: "POST" });
export const remove = (name: string, attached: boolean) => arm(`computes/${name}`, { underlyingResourceAction: attached ? "Detach" : "Delete" }, { method: "DELETE" });
