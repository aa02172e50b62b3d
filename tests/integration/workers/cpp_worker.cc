// SPDX-License-Identifier: BSD-3-Clause
// Copyright (c) 2026 The rankcall authors

// A worker in C++: the headers, the macro and the ownership rules hold there too.

#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include <rankcall/mpi.h>
#include <rankcall/worker.h>

namespace
{

struct Model {
    std::vector<double> weights;
};

int set_up(rankcall_context *context, const rankcall_payload *args)
{
    std::int64_t size = 4;
    if (rankcall_opt_int(args, "size", &size))
        return -1;
    auto model = std::make_unique<Model>();
    model->weights.assign(static_cast<std::size_t>(size), rankcall_rank(context) + 1.0);
    rankcall_set_state(context, model.release());
    return 0;
}

void tear_down(rankcall_context *context)
{
    delete static_cast<Model *>(rankcall_state(context));
}

int total(rankcall_call *call)
{
    const auto *model = static_cast<const Model *>(rankcall_call_state(call));
    double mine = std::accumulate(model->weights.begin(), model->weights.end(), 0.0), sum = 0;
    MPI_Allreduce(&mine, &sum, 1, MPI_DOUBLE, MPI_SUM, rankcall_call_comm(call));
    if (rankcall_emit_json(call, "{\"mine\": %.17g}", mine))
        return -1;
    return rankcall_result_json(call, "{\"sum\": %.17g}", sum);
}

int complain(rankcall_call *call)
{
    const std::string who = "rank " + std::to_string(rankcall_call_rank(call));
    return rankcall_fail(call, "%s complains", who.c_str());
}

const rankcall_handler handlers[] = {{"total", total, "adds the weights"}, {"complain", complain, nullptr}, {}};

} // namespace

RANKCALL_WORKER(.name = "cpp_worker", .handlers = handlers, .setup = set_up, .teardown = tear_down)
