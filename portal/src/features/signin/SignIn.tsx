import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { ask } from "../../api/client";
import { signIn } from "../../api/session";
import { Button, Card, Command, Field, useTitle } from "../../ui/kit";

export function SignIn({ onDone }: { onDone: () => void }) {
    useTitle("Log in");
    const [text, setText] = useState("");
    const [problem, setProblem] = useState("");
    const ways = useQuery({ queryKey: ["ways"], queryFn: () => ask<{ oidc: boolean; issuer?: string }>("/turnout/login"), retry: false });
    const go = async () => {
        setProblem("");
        try {
            await signIn(text);
            onDone();
        } catch (error) {
            setProblem((error as Error).message);
        }
    };
    return (
        <div style={{ maxWidth: 560, margin: "5vh auto 0", width: "100%" }} className="stack">
            <h1>Log in to Turnout</h1>
            {ways.data?.oidc && (
                <Card><a className="btn primary" href={`/login/oidc?to=${encodeURIComponent(location.pathname)}`}>Log in with {new URL(ways.data.issuer!).host}</a></Card>
            )}
            <Card title="By a link, from where Turnout's command line works">
                <div className="stack">
                    <p className="soft">It prints a link that logs this browser in, once. On the server's own machine it works without more.</p>
                    <Command text="turnout login --browser" />
                </div>
            </Card>
            <Card title="Or by that link, or an API token, pasted here">
                <form className="stack" onSubmit={(event) => { event.preventDefault(); go(); }}>
                    <Field label="Link or token" type="password" value={text} onChange={setText} problem={problem} hint="A token is used once, to make a session, and not kept." autoComplete="current-password" />
                    <div><Button kind="primary" type="submit" isDisabled={!text.trim()}>Log in</Button></div>
                </form>
            </Card>
            <p className="small soft">The page of a job opens without this, by the link that its submission printed (studio_url).</p>
        </div>
    );
}
