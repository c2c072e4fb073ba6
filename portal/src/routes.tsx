// From an address to its screen. Each screen is a folder of features/, fetched when it is needed.
import { createRootRoute, createRoute, createRouter, lazyRouteComponent } from "@tanstack/react-router";
import { Frame, Lost } from "./ui/Frame";

const root = createRootRoute({ component: Frame, notFoundComponent: Lost, validateSearch: (search: Record<string, unknown>) => search as Record<string, any> });
const at = <const P extends string>(path: P, load: () => Promise<any>, name: string) =>
    createRoute({ getParentRoute: () => root, path, component: lazyRouteComponent(load, name) });

const assets = () => import("./features/assets/Assets");
const tree = root.addChildren([
    at("/", () => import("./features/home/Home"), "Home"),
    at("/jobs", () => import("./features/jobs/Jobs"), "Jobs"),
    at("/jobs/new", () => import("./features/jobs/NewJob"), "NewJob"),
    at("/jobs/$wsid/$job", () => import("./features/job/Job"), "Job"),
    at("/compare", () => import("./features/compare/Compare"), "Compare"),
    at("/compute", () => import("./features/compute/Computes"), "Computes"),
    at("/compute/$name", () => import("./features/compute/Compute"), "Compute"),
    at("/targets", () => import("./features/compute/Targets"), "Targets"),
    at("/assets/$kind", assets, "Assets"),
    at("/assets/$kind/$name", assets, "Asset"),
    at("/endpoints", () => import("./features/endpoints/Endpoints"), "Endpoints"),
    at("/endpoints/$name", () => import("./features/endpoints/Endpoint"), "Endpoint"),
    at("/schedules", () => import("./features/schedules/Schedules"), "Schedules"),
    at("/schedules/$name", () => import("./features/schedules/Schedules"), "Schedule"),
    at("/activity", () => import("./features/activity/Activity"), "Activity"),
    at("/people", () => import("./features/people/People"), "People"),
    at("/settings", () => import("./features/settings/Settings"), "Settings"),
]);

export const router = createRouter({ routeTree: tree, basepath: "/studio", defaultPreload: "intent", scrollRestoration: true });
declare module "@tanstack/react-router" { interface Register { router: typeof router } }
