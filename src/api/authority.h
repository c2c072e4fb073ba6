// Issues and checks the credentials of this instance.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "api/api.h"
#include "io/loop.h"
#include "store/store.h"

namespace turnout::api {

// The secrets of an instance. Made once, kept by app/ in a file of mode 0600 outside the database.
struct InstanceKeys {
    Secret token_key;    // signs access tokens
    Secret link_key;     // signs SAS, studio and log links
    std::string tenant;  // a GUID, `tid` of every token
};
InstanceKeys make_instance_keys(Random& random);
std::string serialize(const InstanceKeys& keys);  // the text of the key file; secret
Result<InstanceKeys> parse_instance_keys(std::string_view text);

class InstanceAuthority : public Authority {
public:
    // A new API key for that user; shown this once, stored as its hash.
    virtual Task<Result<Secret>> create_api_key(std::string user) = 0;
    // An API key as such; an access token is not one. For the token endpoints.
    virtual Result<Principal> check_api_key(std::string_view key) = 0;
};

// Store and clock outlive it.
std::unique_ptr<InstanceAuthority> make_authority(Store& store, const Clock& clock, Random& random,
                                                  InstanceKeys keys);

}  // namespace turnout::api
