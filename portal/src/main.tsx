import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { createRoot } from "react-dom/client";
import { ApiError } from "./api/client";
import { applyTheme } from "./ui/theme";
import { router } from "./routes";
import "./ui/base.css";

applyTheme();
const client = new QueryClient({
    defaultOptions: {
        queries: {
            staleTime: 2000,
            refetchOnWindowFocus: true,
            // What the server refused it refuses again.
            retry: (count, error) => count < 2 && (!(error instanceof ApiError) || error.status === 0 || error.status >= 500),
        },
    },
});
createRoot(document.getElementById("root")!).render(
    <QueryClientProvider client={client}><RouterProvider router={router} /></QueryClientProvider>,
);
