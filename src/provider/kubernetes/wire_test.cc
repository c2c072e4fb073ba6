#include "provider/kubernetes/wire.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/text.h"
#include "model/waiting.h"
#include "provider/kubernetes/kubeconfig.h"
#include "provider/kubernetes/websocket.h"

namespace turnout {
namespace {

constexpr const char* kPodNode = "0123456789ab/cpu-Large/node-1";

Json pod_of(Json status, bool deleting = false) {
    Json about = Json::object({{"name", pod_name("abc", kPodNode)},
                               {"labels", Json::object({{"turnout.server", "abc"}})},
                               {"annotations", Json::object({{"turnout.node", kPodNode},
                                                             {"turnout.image", "debian:12"}})}});
    if (deleting) about.set("deletionTimestamp", "2026-11-30T12:00:00Z");
    return Json::object({{"metadata", std::move(about)},
                         {"spec", Json::object({{"nodeName", "m1"}})},
                         {"status", std::move(status)}});
}

std::string list_of(Json::Array pods) {
    return Json::object({{"kind", "PodList"},
                         {"metadata", Json::object({{"continue", ""}})},
                         {"items", std::move(pods)}})
        .dump();
}

Json container_status(const char* state, Json what) {
    return Json::object(
        {{"phase", "Pending"},
         {"containerStatuses",
          Json::array({Json::object({{"name", "sidecar"},
                                     {"state", Json::object({{"running", Json::object()}})}}),
                       Json::object({{"name", "node"},
                                     {"state", Json::object({{state, std::move(what)}})}})})}});
}

PodSeen seen(Json status, bool deleting = false) {
    const auto page = parse_pods(list_of({pod_of(std::move(status), deleting)}), "abc");
    EXPECT_TRUE(page) << page.error().message;
    return page && page->pods.size() == 1 ? page->pods.front() : PodSeen();
}

TEST(KubernetesPods, TellOfOursAndLeaveOutAllOthers) {
    Json other = pod_of(Json::object({{"phase", "Running"}}));
    other["metadata"]["labels"].set("turnout.server", "abcd");
    Json odd = pod_of(Json::object({{"phase", "Running"}}));
    odd["metadata"]["annotations"].set("turnout.node", "../../etc");
    Json path = pod_of(Json::object({{"phase", "Running"}}));
    path["metadata"].set("name", "a/../b");
    // Somebody else's, which says that it is a node's.
    Json foreign = pod_of(Json::object({{"phase", "Running"}}));
    foreign["metadata"].set("name", "a");
    const auto page = parse_pods(
        list_of({other, odd, path, foreign, Json::object(),
                 pod_of(container_status("running", Json::object({{"startedAt", "now"}})))}),
        "abc");
    ASSERT_TRUE(page) << page.error().message;
    ASSERT_EQ(page->pods.size(), 1u);
    EXPECT_EQ(page->pods[0].node, kPodNode);
    EXPECT_EQ(page->pods[0].image, "debian:12");
    EXPECT_EQ(page->pods[0].where, "m1");
    EXPECT_EQ(page->pods[0].is(), PodSeen::Is::Runs);
    EXPECT_EQ(page->more, "");
    EXPECT_EQ(
        parse_pods(R"({"kind": "PodList", "metadata": {"continue": "x"}, "items": null})", "abc")
            ->more,
        "x");
}

// Who is not in it counts as gone: half an answer is none.
TEST(KubernetesPods, AnAnswerThatIsNoListIsNone) {
    const std::string whole = list_of({pod_of(Json::object({{"phase", "Running"}}))});
    for (std::size_t size = 0; size < whole.size(); ++size)
        EXPECT_FALSE(parse_pods(std::string_view(whole).substr(0, size), "abc")) << size;
    EXPECT_FALSE(parse_pods(R"({"kind": "Status", "message": "no"})", "abc"));
    EXPECT_FALSE(parse_pods(R"({"kind": "PodList", "items": []})", "abc"));
    EXPECT_FALSE(parse_pods(R"({"kind": "PodList", "metadata": {}, "items": {}})", "abc"));
    EXPECT_FALSE(parse_pods(R"({"kind": "PodList", "metadata": {}, "items": [1]})", "abc"));
}

TEST(KubernetesPods, SayWhatMayRun) {
    EXPECT_EQ(seen(Json::object({{"phase", "Running"}}), true).is(), PodSeen::Is::Ends);
    EXPECT_EQ(seen(Json::object({{"phase", "Succeeded"}})).is(), PodSeen::Is::Over);
    EXPECT_EQ(seen(Json::object({{"phase", "Failed"}, {"reason", "Evicted"}})).is(),
              PodSeen::Is::Over);
    EXPECT_EQ(seen(Json::object({{"phase", "Pending"}})).is(), PodSeen::Is::Starts);
    EXPECT_EQ(seen(Json::object({{"phase", "Unknown"}})).is(), PodSeen::Is::Starts);
    Json nowhere = pod_of(Json::object({{"phase", "Pending"}}));
    nowhere.set("spec", Json::object());
    EXPECT_EQ(parse_pods(list_of({nowhere}), "abc")->pods.front().is(), PodSeen::Is::Waits);
}

TEST(KubernetesWords, AWaitIsToldInTheSchedulersWords) {
    const PodSeen pod =
        seen(Json::object({{"phase", "Pending"},
                           {"conditions", Json::array({Json::object({{"type", "PodScheduled"},
                                                                     {"status", "False"},
                                                                     {"reason", "Unschedulable"},
                                                                     {"message",
                                                                      "0/1 nodes are available: 1 "
                                                                      "Insufficient cpu."}})})}}));
    const std::string words = waits_in_words(pod);
    EXPECT_TRUE(words.starts_with(kWaiting)) << words;
    EXPECT_NE(words.find("Insufficient cpu"), std::string::npos) << words;
    EXPECT_NE(words.find(pod_name("abc", kPodNode)), std::string::npos) << words;
    EXPECT_EQ(waits_in_words(seen(Json::object({{"phase", "Pending"}}))), "");
}

TEST(KubernetesWords, AnImageThatIsNotThereIsToldFromARegistryThatIsAway) {
    const auto waits = [](const char* why, const char* message) {
        return seen(
            container_status("waiting", Json::object({{"reason", why}, {"message", message}})));
    };
    const PodSeen none = waits("ErrImagePull", "failed to resolve reference: not found");
    EXPECT_EQ(image_trouble(none), ImageTrouble::Never);
    EXPECT_EQ(trouble_in_words(none, "a:1"),
              "image 'a:1' cannot be pulled: Kubernetes says: ErrImagePull: failed to resolve "
              "reference: not found");
    EXPECT_EQ(image_trouble(waits("ErrImagePull", "dial tcp: connection refused")),
              ImageTrouble::Perhaps);
    EXPECT_EQ(image_trouble(waits("ImagePullBackOff", "Back-off pulling image \"x\"")),
              ImageTrouble::Perhaps);
    // A number in the image's name is nobody's no.
    EXPECT_EQ(image_trouble(waits("ImagePullBackOff", "Back-off pulling image \"x:20240115\"")),
              ImageTrouble::Perhaps);
    EXPECT_EQ(image_trouble(waits("InvalidImageName", "bad")), ImageTrouble::Never);
    EXPECT_EQ(image_trouble(waits("ErrImageNeverPull", "no")), ImageTrouble::Never);
    EXPECT_NE(trouble_in_words(waits("ErrImageNeverPull", "no"), "a:1").find("`pull: never`"),
              std::string::npos);
    EXPECT_EQ(image_trouble(waits("ContainerCreating", "")), ImageTrouble::None);
    EXPECT_EQ(trouble_in_words(waits("ContainerCreating", ""), "a:1"), "");
    EXPECT_EQ(trouble_in_words(waits("CreateContainerConfigError", "runs as root"), "a:1"),
              "its container cannot be started: Kubernetes says: CreateContainerConfigError: runs "
              "as root");
    const PodSeen shell_less = seen(container_status(
        "terminated",
        Json::object({{"reason", "StartError"},
                      {"exitCode", 128},
                      {"message", "exec: \"sh\": executable file not found in $PATH"}})));
    EXPECT_EQ(image_trouble(shell_less), ImageTrouble::Never);
    EXPECT_NE(trouble_in_words(shell_less, "a:1").find("image 'a:1' has no sh"), std::string::npos);
}

TEST(KubernetesWords, WhatEndedSaysWhy) {
    const auto why = [](Json status, bool deleting = false) {
        return ended_in_words(seen(std::move(status), deleting));
    };
    EXPECT_EQ(
        why(Json::object({{"phase", "Failed"},
                          {"reason", "Evicted"},
                          {"message", "The node was low on resource: memory."}})),
        "the node's pod turnout-cpu-large-node-1-41c4f24587 on m1 is over: Kubernetes evicted it "
        "(Evicted: The node was low on resource: memory.)");
    EXPECT_NE(why(container_status("terminated",
                                   Json::object({{"reason", "OOMKilled"}, {"exitCode", 137}})))
                  .find("more memory than it may (OOMKilled)"),
              std::string::npos);
    EXPECT_NE(
        why(container_status("terminated", Json::object({{"reason", "Error"}, {"exitCode", 3}})))
            .find("its container ended with exit code 3"),
        std::string::npos);
    EXPECT_NE(why(Json::object({{"phase", "Running"},
                                {"conditions", Json::array({Json::object(
                                                   {{"type", "DisruptionTarget"},
                                                    {"status", "True"},
                                                    {"reason", "PreemptionByScheduler"},
                                                    {"message",
                                                     "preempting to accommodate a higher priority "
                                                     "pod"}})})}}),
                  true)
                  .find("gave its place to another pod (PreemptionByScheduler: preempting to "),
              std::string::npos);
    EXPECT_NE(why(Json::object({{"phase", "Running"}}), true).find("somebody deleted it"),
              std::string::npos);
}

TEST(KubernetesWords, ARefusalSaysWhatHelps) {
    const auto refused = [](int status, const char* message) {
        return refused_by_api("a pod cannot be made", status,
                              Json::object({{"message", message}}).dump());
    };
    const Error rights = refused(403, "pods is forbidden: User \"u\" cannot create resource");
    EXPECT_EQ(rights.code, Code::FailedPrecondition);
    EXPECT_EQ(rights.reason, "Forbidden");
    EXPECT_NE(rights.message.find("deploy/kubernetes.yaml"), std::string::npos);
    EXPECT_EQ(refused(403, "pods \"x\" is forbidden: exceeded quota: q").code,
              Code::ResourceExhausted);
    EXPECT_EQ(refused(403, "violates PodSecurity \"restricted\"").code, Code::InvalidArgument);
    const Error expired = refused(401, "Unauthorized");
    EXPECT_EQ(expired.reason, "NotLetIn");
    EXPECT_NE(expired.message.find("no longer valid"), std::string::npos);
    EXPECT_EQ(refused(404, "namespaces \"x\" not found").code, Code::NotFound);
    EXPECT_EQ(refused(409, "already exists").code, Code::Conflict);
    EXPECT_EQ(refused(422, "invalid").code, Code::InvalidArgument);
    EXPECT_EQ(refused(500, "etcd").code, Code::Unavailable);
    EXPECT_EQ(refused(429, "later").code, Code::Unavailable);
    // Of any bytes there is a message in one line.
    const Error odd = refused_by_api("x", 500, "a\xff\n\x01");
    EXPECT_TRUE(is_utf8(odd.message));
    EXPECT_EQ(odd.message.find('\n'), std::string::npos);
}

TEST(KubernetesWords, TheNewestEventIsTold) {
    const auto event = [](const char* at, const char* reason, const char* message) {
        return Json::object({{"lastTimestamp", at}, {"reason", reason}, {"message", message}});
    };
    EXPECT_EQ(
        parse_events(
            Json::object(
                {{"items",
                  Json::array(
                      {event("2026-11-30T12:00:02Z", "Pulling", "Pulling image \"debian:12\""),
                       event("2026-11-30T12:00:01Z", "FailedMount", "old"),
                       event("2026-11-30T12:00:09Z", "Scheduled", "Successfully assigned")})}})
                .dump()),
        "Pulling image \"debian:12\"");
    EXPECT_EQ(parse_events("{"), "");
}

KubernetesSettings settings_of(Json more = Json::object()) {
    Json settings = Json::object({{"kubeconfig", "/k"}, {"image", "pool:1"}});
    settings.merge(more);
    return read_kubernetes_settings(settings);
}

TEST(KubernetesPod, AsksForWhatTheSizePromises) {
    NodeRequest request;
    request.id = kPodNode;
    request.size = "STANDARD_DS3_v2";
    request.cores = 4;
    request.memory_gb = 14;
    const Json pod = pod_document(request, settings_of(), "abc");
    const Json& spec = pod.at("spec");
    const Json& container = spec.at("containers").items().front();
    EXPECT_EQ(container.at("image").as_string(), "pool:1");
    EXPECT_EQ(container.at("imagePullPolicy").as_string(), "IfNotPresent");
    for (const char* const name : {"requests", "limits"}) {
        EXPECT_EQ(container.at("resources").at(name).at("cpu").as_string(), "4");
        EXPECT_EQ(container.at("resources").at(name).at("memory").as_string(), "14400Mi");
        EXPECT_FALSE(container.at("resources").at(name).has("nvidia.com/gpu"));
    }
    // What the strictest of Kubernetes' own standards asks for.
    EXPECT_TRUE(spec.at("securityContext").at("runAsNonRoot").as_bool());
    EXPECT_EQ(spec.at("securityContext").at("seccompProfile").at("type").as_string(),
              "RuntimeDefault");
    EXPECT_FALSE(container.at("securityContext").at("allowPrivilegeEscalation").as_bool(true));
    EXPECT_EQ(container.at("securityContext").at("capabilities").at("drop").items().front(),
              Json("ALL"));
    EXPECT_FALSE(spec.at("automountServiceAccountToken").as_bool(true));
    EXPECT_EQ(spec.at("restartPolicy").as_string(), "Never");
    // Its name and labels are such as Kubernetes takes.
    const std::string name = pod.at("metadata").at("name").as_string();
    EXPECT_TRUE(fits_as_object_name(name)) << name;
    EXPECT_LE(name.size(), 63u);
    EXPECT_TRUE(name.starts_with("turnout-cpu-large-node-1-")) << name;
    EXPECT_EQ(name, pod_name("abc", kPodNode));
    EXPECT_NE(name, pod_name("abd", kPodNode));
    EXPECT_EQ(pod.at("metadata").at("labels").at("turnout.server").as_string(), "abc");
    EXPECT_EQ(pod.at("metadata").at("annotations").at("turnout.node").as_string(), kPodNode);
}

TEST(KubernetesPod, AnInstanceTypeGoesBeforeTheSize) {
    NodeRequest request;
    request.id = kPodNode;
    request.size = "gpu";
    request.cores = 4;
    request.memory_gb = 14;
    request.image = "own:2";
    const KubernetesSettings settings = settings_of(Json::object(
        {{"service_account", "trainer"},
         {"pull", "always"},
         {"image_pull_secrets", Json::array({"registry"})},
         {"instance_types",
          Json::object(
              {{"GPU", Json::object(
                           {{"cpu", "500m"},
                            {"memory", "2Gi"},
                            {"gpu", 2},
                            {"node_selector", Json::object({{"zone", "a"}, {"on", true}})}})}})}}));
    const Json pod = pod_document(request, settings, "abc");
    const Json& spec = pod.at("spec");
    const Json& container = spec.at("containers").items().front();
    EXPECT_EQ(container.at("image").as_string(), "own:2");
    EXPECT_EQ(container.at("imagePullPolicy").as_string(), "Always");
    const Json& limits = container.at("resources").at("limits");
    EXPECT_EQ(limits.dump(), R"({"cpu":"500m","memory":"2Gi","nvidia.com/gpu":"2"})");
    EXPECT_EQ(spec.at("nodeSelector").dump(), R"({"zone":"a","on":"true"})");
    EXPECT_EQ(spec.at("serviceAccountName").as_string(), "trainer");
    EXPECT_EQ(spec.at("imagePullSecrets").dump(), R"([{"name":"registry"}])");
}

TEST(KubernetesPod, NothingSecretIsInIt) {
    NodeRequest request;
    request.id = kPodNode;
    const KubernetesSettings settings =
        settings_of(Json::object({{"variables", Json::object({{"PROXY", "http://u:geheim@p"}})}}));
    EXPECT_EQ(pod_document(request, settings, "abc").dump().find("geheim"), std::string::npos);
    const std::string script = begin_script(request, settings, Secret("to'ken"), true);
    EXPECT_NE(script.find("'to'\\''ken'"), std::string::npos) << script;
    EXPECT_NE(script.find("export PROXY=http://u:geheim@p"), std::string::npos) << script;
    EXPECT_NE(script.find(" --uv "), std::string::npos) << script;
    EXPECT_EQ(begin_script(request, settings, Secret("t"), false).find("--uv"), std::string::npos);
}

TEST(KubernetesQuantities, AreReadAsKubernetesHasThem) {
    EXPECT_EQ(parse_quantity("2"), 2000);
    EXPECT_EQ(parse_quantity("500m"), 500);
    EXPECT_EQ(parse_quantity("1.5"), 1500);
    EXPECT_EQ(parse_quantity("2Gi"), std::int64_t{2} * 1024 * 1024 * 1024 * 1000);
    EXPECT_EQ(parse_quantity("1k"), 1000 * 1000);
    for (const char* const bad : {"", "m", "-1", "1.2.3", "1e3", ".5", "5.", "two", "1 Gi"})
        EXPECT_FALSE(parse_quantity(bad)) << bad;
}

// ---- kubeconfigs ----

constexpr const char* kKubeconfig = R"(
apiVersion: v1
kind: Config
current-context: one
clusters:
- name: c
  cluster: {server: "https://10.0.0.1:6443/", certificate-authority: pki/ca.crt, tls-server-name: api}
users:
- name: token
  user: {token: secret}
- name: certificate
  user: {client-certificate-data: QUJD, client-key: /etc/key}
- name: program
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1
      command: ./login
      args: [get-token, --id, 7]
      env: [{name: A, value: b}]
contexts:
- name: one
  context: {cluster: c, user: token, namespace: jobs}
- name: two
  context: {cluster: c, user: certificate}
- name: three
  context: {cluster: c, user: program}
- name: lost
  context: {cluster: d, user: token}
)";

TEST(Kubeconfig, SaysWhereTheServerIsAndWhoWeAre) {
    const auto one = read_kubeconfig(kKubeconfig, "/etc/kube/config", "");
    ASSERT_TRUE(one) << one.error().message;
    EXPECT_EQ(one->server, "https://10.0.0.1:6443");
    EXPECT_EQ(one->server_name, "api");
    EXPECT_EQ(one->name_space, "jobs");
    EXPECT_EQ(one->authorities_file, "/etc/kube/pki/ca.crt");
    EXPECT_EQ(one->token.reveal(), "secret");
    const auto two = read_kubeconfig(kKubeconfig, "/etc/kube/config", "two");
    ASSERT_TRUE(two) << two.error().message;
    EXPECT_EQ(two->certificate, "ABC");
    EXPECT_EQ(two->key_file, "/etc/key");
    EXPECT_TRUE(two->token.empty());
    const auto three = read_kubeconfig(kKubeconfig, "/etc/kube/config", "three");
    ASSERT_TRUE(three) << three.error().message;
    ASSERT_TRUE(three->program);
    EXPECT_EQ(three->program->command, "/etc/kube/./login");
    EXPECT_EQ(three->program->arguments, (std::vector<std::string>{"get-token", "--id", "7"}));
}

TEST(Kubeconfig, WhatIsNotDoneHereIsRefusedWithItsPlace) {
    const auto why = [](const std::string& from, const std::string& to,
                        const std::string& context = "") {
        std::string text = kKubeconfig;
        if (!from.empty()) replace_all(text, from, to);
        const auto read = read_kubeconfig(text, "/etc/kube/config", context);
        return read ? std::string("it is read") : read.error().message;
    };
    EXPECT_NE(why("current-context: one", "").find("current-context"), std::string::npos);
    EXPECT_NE(why("", "", "tow").find("did you mean 'two'?"), std::string::npos);
    EXPECT_NE(why("", "", "lost").find("there is no cluster"), std::string::npos);
    EXPECT_NE(
        why("tls-server-name: api", "insecure-skip-tls-verify: true").find("/etc/kube/config:7:"),
        std::string::npos);
    EXPECT_NE(why("tls-server-name: api", "proxy-url: http://p").find("no proxy"),
              std::string::npos);
    EXPECT_NE(why("https://10.0.0.1:6443/", "http://10.0.0.1").find("https://10.0.0.1:6443"),
              std::string::npos);
    EXPECT_NE(why("token: secret", "username: u, password: p").find("expected a token"),
              std::string::npos);
    EXPECT_NE(why("QUJD", "'!'", "two").find("base64"), std::string::npos);
    EXPECT_NE(why("clusters:", "nothing:").find("expected a kubeconfig"), std::string::npos);
    EXPECT_EQ(why("token: secret", "token: secret, insecure: 1"), "it is read");
}

TEST(Kubeconfig, AProgramSaysACredential) {
    const auto said = parse_credentials(
        R"({"kind": "ExecCredential", "status": {"token": "abc", "expirationTimestamp": "x"}})");
    ASSERT_TRUE(said);
    EXPECT_EQ(said->token.reveal(), "abc");
    EXPECT_FALSE(parse_credentials(R"({"kind": "ExecCredential", "status": {}})"));
    EXPECT_FALSE(parse_credentials(
        "{\"kind\": \"ExecCredential\", \"status\": {\"token\": \"a\\r\\nb: c\"}}"));
    EXPECT_FALSE(parse_credentials("{}"));
    EXPECT_FALSE(parse_credentials("abc"));
}

// ---- WebSocket ----

// As a server sends it.
std::string server_frame(unsigned head, std::string_view payload) {
    std::string frame = websocket_frame(static_cast<Opcode>(head & 0xfU), payload, {});
    frame[0] = static_cast<char>(head);
    frame[1] = static_cast<char>(static_cast<unsigned char>(frame[1]) & 0x7fU);
    const std::size_t size = payload.size() < 126 ? 2 : payload.size() < 65536 ? 4 : 10;
    return frame.erase(size, 4);
}

TEST(WebSocket, AFrameIsMaskedAndSaysItsLength) {
    EXPECT_EQ(websocket_frame(Opcode::Text, "Hello", {0x37, 0xfa, 0x21, 0x3d}),
              "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");  // the RFC's own example
    EXPECT_EQ(websocket_frame(Opcode::Binary, std::string(200, 'a'), {}).substr(0, 4),
              std::string("\x82\xfe\x00\xc8", 4));
    EXPECT_EQ(websocket_frame(Opcode::Binary, std::string(70000, 'a'), {}).size(), 70014u);
}

TEST(WebSocket, MessagesComeInWhateverPieces) {
    const std::string all = server_frame(0x82, "one") + server_frame(0x89, "ping") +
                            server_frame(0x02, "tw") + server_frame(0x8a, "") +
                            server_frame(0x00, "") + server_frame(0x80, "o") +
                            server_frame(0x82, std::string(70000, 'x')) + server_frame(0x88, "");
    for (const std::size_t step : {std::size_t{1}, std::size_t{7}, all.size()}) {
        WebSocketReader reader;
        std::vector<std::string> got;
        for (std::size_t at = 0; at < all.size(); at += step) {
            reader.give(std::string_view(all).substr(at, step));
            for (;;) {
                const auto message = reader.next();
                ASSERT_TRUE(message) << message.error().message;
                if (!*message) break;
                got.push_back(std::to_string(static_cast<int>((*message)->opcode)) + " " +
                              (*message)->payload);
            }
        }
        EXPECT_EQ(got, (std::vector<std::string>{"2 one", "9 ping", "10 ", "2 two",
                                                 "2 " + std::string(70000, 'x'), "8 "}));
    }
}

TEST(WebSocket, WhatTheRfcDoesNotHaveIsRefused) {
    for (const std::string& bad :
         {server_frame(0x83, "x"), server_frame(0xc2, "x"), server_frame(0x80, "x"),
          server_frame(0x09, "x"), server_frame(0x89, std::string(200, 'x')),
          server_frame(0x02, "x") + server_frame(0x82, "y"),
          websocket_frame(Opcode::Binary, "x", {1, 2, 3, 4}),
          std::string("\x82\x7f\x00\x00\x01\x00\x00\x00\x00\x00", 10)}) {
        WebSocketReader reader;
        reader.give(bad);
        EXPECT_FALSE(reader.next()) << shown(bad);
    }
}

TEST(ExecChannels, SayWhatTheProgramSaysAndHowItEnded) {
    ExecChannels channels;
    EXPECT_TRUE(channels.give(std::string("\x00", 1)));
    EXPECT_TRUE(channels.give(""));
    EXPECT_TRUE(channels.give("\x01one"));
    EXPECT_TRUE(channels.give("\x02oops"));
    EXPECT_TRUE(channels.give("\x01 two"));
    EXPECT_EQ(channels.take_output(), "one two");
    EXPECT_EQ(channels.take_output(), "");
    EXPECT_EQ(channels.last_words(), "oops");
    EXPECT_FALSE(channels.ended());
    EXPECT_TRUE(channels.give("\x03{\"status\": \"Failure\", \"message\": \"exit code 2\"}"));
    ASSERT_TRUE(channels.ended());
    EXPECT_EQ(channels.ended()->value_or(""), "'exit code 2'");
    ExecChannels good;
    EXPECT_TRUE(good.give("\x03{\"status\": \"Success\"}"));
    ASSERT_TRUE(good.ended());
    EXPECT_FALSE(*good.ended());
    EXPECT_FALSE(good.give("\x09x"));
}

}  // namespace
}  // namespace turnout
