// What a Kubernetes API server says: lists of pods, events, refusals, and the frames of an exec;
// and kubeconfigs.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/text.h"
#include "model/waiting.h"
#include "provider/kubernetes/kubeconfig.h"
#include "provider/kubernetes/websocket.h"
#include "provider/kubernetes/wire.h"

namespace {

// All that a stream says, in pieces of that size; "" behind it where it is none.
std::string spoken(std::string_view all, std::size_t step) {
    turnout::WebSocketReader reader;
    turnout::ExecChannels channels;
    std::string said;
    for (std::size_t at = 0; at < all.size(); at += step) {
        reader.give(all.substr(at, step));
        for (;;) {
            const auto message = reader.next();
            if (!message) return said + " broken";
            if (!*message) break;
            if (!channels.give((*message)->payload)) return said + " odd";
            said += channels.take_output();
        }
    }
    return said + (channels.ended() ? " ended" : "");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view all(reinterpret_cast<const char*>(data), size);
    if (const auto page = turnout::parse_pods(all, "abc"))
        for (const turnout::PodSeen& pod : page->pods) {
            // It becomes a part of a path.
            if (!turnout::fits_as_object_name(pod.name)) __builtin_trap();
            const std::string waits = turnout::waits_in_words(pod);
            if (!waits.empty() && !waits.starts_with(turnout::kWaiting)) __builtin_trap();
            for (const std::string& words :
                 {waits, turnout::trouble_in_words(pod, "image"), turnout::ended_in_words(pod)})
                if (!turnout::is_utf8(words)) __builtin_trap();
            (void)turnout::image_trouble(pod);
            (void)pod.is();
        }
    if (!turnout::is_utf8(turnout::parse_events(all))) __builtin_trap();
    if (!turnout::is_utf8(turnout::refused_by_api("it", 403, all).message)) __builtin_trap();
    // In whatever pieces it comes, it is the same.
    if (spoken(all, 1) != spoken(all, size + 1)) __builtin_trap();
    (void)turnout::read_kubeconfig(all, "/etc/kube/config", "");
    (void)turnout::parse_credentials(all);
    if (const auto quantity = turnout::parse_quantity(all); quantity && *quantity < 0)
        __builtin_trap();
    return 0;
}
