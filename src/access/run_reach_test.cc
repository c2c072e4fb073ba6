#include "access/run_reach.h"

#include <gtest/gtest.h>

#include "access/access.h"
#include "access/actions.h"

namespace turnout::access {
namespace {

const std::string kHashed(32, 'a');

class Reach : public ::testing::Test {
protected:
    Reach() {
        reach.job = "j";
        reach.containers = {"w", "azureml-w", "azureml-blobstore-w", "w-fetched"};
        reach.reads.add("w-" + kHashed, "");
        reach.reads.add(store, "azureml/other/named/");
        reach.reads.add(store, "LocalUpload/in/");
        reach.writes.add(store, "azureml/j/out/");
        reach.writes.add("w-mine", "there/");
        registered.add("azureml-w", "ExperimentRun/dcid.maker/model/");
        registered.add(store, "LocalUpload/data/t.csv");
    }
    bool may(const std::string& container, const std::string& name, char permission) {
        return reach.may(container, name, permission, registered);
    }
    Listed listed(const std::string& container, const std::string& prefix) {
        return reach.listed(container, prefix, registered);
    }
    RunReach reach;
    Places registered;
    const std::string store = "azureml-blobstore-w";
};

TEST_F(Reach, FilesAtPlaces) {
    const std::string code = "w-" + kHashed, other_code = "w-" + std::string(32, 'b');
    struct {
        std::string container, name, may;
    } const table[] = {
        // its own
        {"azureml-w", "ExperimentRun/dcid.j/outputs/a", "rwcd"},
        {store, "azureml/j/out/a", "rwc"},
        {"w-mine", "there/a", "rwc"},
        {code, "train.py", "r"},
        // what its job names
        {store, "azureml/other/named/a", "r"},
        {store, "LocalUpload/in/a", "rc"},
        // what is registered
        {"azureml-w", "ExperimentRun/dcid.maker/model/weights", "r"},
        {store, "LocalUpload/data/t.csv", "rc"},
        // data
        {store, "data/x.csv", "r"},
        {"w-more", "x", "r"},
        // by the hash of the content
        {store, "LocalUpload/" + kHashed + "/a", "rc"},
        {store, "LocalUpload/" + kHashed, "c"},
        {store, "LocalUpload/short/a", "c"},
        {"w-fetched", kHashed + "/a", "r"},
        {"w-fetched", "short/a", ""},
        // other jobs'
        {"azureml-w", "ExperimentRun/dcid.j2/outputs/a", ""},
        {"azureml-w", "ExperimentRun/dcid.maker/user_logs/std_log.txt", ""},
        {"azureml-w", "ExperimentRun/dcid.maker/model2", ""},
        {"azureml-w", "else", ""},
        {store, "azureml/j2/out/a", ""},
        {store, "azureml/other/more/a", ""},
        {store, "azureml/j/out2/a", ""},
        {store, "azureml/other/named2", ""},
        {other_code, "train.py", ""},
        // other workspaces'
        {"azureml-blobstore-v", "data/x", ""},
        {"azureml-v", "ExperimentRun/dcid.j/a", ""},
        {"v-more", "x", ""},
        {"w", "x", ""},
        {"", "", ""},
    };
    for (const auto& row : table) {
        std::string found;
        for (const char permission : {'r', 'w', 'c', 'd', 'l', 'x'})
            if (may(row.container, row.name, permission)) found += permission;
        std::string wanted = row.may;
        if (wanted.find('d') != std::string::npos) wanted += "lx";  // all of it
        EXPECT_EQ(found, wanted) << row.container << "/" << row.name;
    }
}

TEST_F(Reach, WhatAListShows) {
    struct {
        std::string container, prefix;
        Listed shown;
    } const table[] = {
        {"azureml-w", "", Listed::Nothing},
        {"azureml-w", "ExperimentRun/dcid.", Listed::Nothing},
        {"azureml-w", "ExperimentRun/dcid.j", Listed::ThatAndBeneath},
        {"azureml-w", "ExperimentRun/dcid.j/", Listed::Everything},
        {"azureml-w", "ExperimentRun/dcid.j/out", Listed::Everything},
        {"azureml-w", "ExperimentRun/dcid.j2", Listed::Nothing},
        {"azureml-w", "ExperimentRun/dcid.maker/", Listed::Nothing},
        {"azureml-w", "ExperimentRun/dcid.maker/model", Listed::ThatAndBeneath},
        {"azureml-w", "ExperimentRun/dcid.maker/model/w", Listed::Everything},
        {store, "", Listed::ButJobs},
        {store, "azu", Listed::ButJobs},
        {store, "azureml", Listed::ButJobs},
        {store, "azureml/", Listed::Nothing},
        {store, "azureml/j", Listed::Nothing},
        {store, "azureml/j/out", Listed::ThatAndBeneath},
        {store, "azureml/j/out/", Listed::Everything},
        {store, "azureml/other/", Listed::Nothing},
        {store, "LocalUpload/", Listed::Nothing},
        {store, "LocalUpload/aa", Listed::Nothing},
        {store, "LocalUpload/" + kHashed, Listed::ThatAndBeneath},
        {store, "LocalUpload/" + kHashed + "/", Listed::Everything},
        {store, "LocalUpload/data/t.csv", Listed::ThatAndBeneath},
        {store, "data/", Listed::Everything},
        {store, "da", Listed::Everything},
        {"w-" + kHashed, "", Listed::Everything},
        {"w-" + std::string(32, 'b'), "", Listed::Nothing},
        {"w-fetched", "", Listed::Nothing},
        {"w-fetched", kHashed + "/", Listed::Everything},
        {"w-more", "", Listed::Everything},
        {"azureml-blobstore-v", "", Listed::Nothing},
    };
    for (const auto& row : table)
        EXPECT_EQ(listed(row.container, row.prefix), row.shown)
            << row.container << "/" << row.prefix;
}

// An input that is a whole datastore was named by whoever submitted the job; an asset that is one
// opens nothing that is of others.
TEST_F(Reach, AWholeDatastore) {
    EXPECT_FALSE(may_be_registered(reach.containers, store, ""));
    EXPECT_FALSE(may_be_registered(reach.containers, store, "azureml/"));
    EXPECT_FALSE(may_be_registered(reach.containers, store, "data"));  // is open anyway
    EXPECT_FALSE(may_be_registered(reach.containers, "azureml-w", "ExperimentRun"));
    EXPECT_FALSE(may_be_registered(reach.containers, "azureml-w", "ExperimentRun/dcid."));
    EXPECT_FALSE(may_be_registered(reach.containers, "w-" + kHashed, "a"));
    EXPECT_TRUE(may_be_registered(reach.containers, "azureml-w", "ExperimentRun/dcid.k/"));
    EXPECT_TRUE(may_be_registered(reach.containers, store, "azureml/k/out"));
    reach.reads.add(store, "");
    EXPECT_TRUE(may(store, "azureml/j2/out/a", 'r'));
    EXPECT_EQ(listed(store, ""), Listed::Everything);
    EXPECT_FALSE(may(store, "azureml/j2/out/a", 'w'));
}

// What nobody thought of is denied, and nothing that changes what is not the run's.
TEST(RunMayDo, IsAShortList) {
    EXPECT_EQ(run_may(""), RunMay::Nothing);
    EXPECT_EQ(run_may("Turnout/unlisted/action"), RunMay::Nothing);
    for (const std::string_view action : known_actions()) {
        const RunMay may = run_may(action);
        const bool of_assets =
            action == action::kWriteCodes || action == action::kWriteComponents ||
            action == action::kWriteData || action == action::kWriteModels ||
            action == action::kWriteEnvironments || action == action::kWriteExperiments;
        if (may == RunMay::Catalog) {
            EXPECT_TRUE(reads(action) || of_assets) << action;
        }
        for (const std::string_view never :
             {"Turnout/", "Microsoft.Authorization/", "/workspaces/computes/write",
              "/workspaces/events/", "listSecrets", "listKeys", "/workspaces/jobs/write",
              "/jobs/cancel", "/jobs/delete", "/workspaces/write", "/workspaces/delete",
              "/datastores/write", "/models/delete", "/data/delete", "/experiments/delete"})
            if (action.find(never) != std::string_view::npos) {
                EXPECT_EQ(may, RunMay::Nothing) << action;
            }
    }
}

}  // namespace
}  // namespace turnout::access
