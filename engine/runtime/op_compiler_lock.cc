// Replaces the compile step of Jittor 1.3.11's parallel operator compiler by one whose first half runs under a lock.
//
// Generating an operator's source changes the computation graph: the convolution and matrix product tuners add a library
// operator to the inputs and take it away again. Operators that share an input, as the two gradients of a convolution do,
// then change one std::list from several threads, and the heap is corrupted. Compiling the finished source touches no
// graph, takes nearly all the time, and stays parallel.
//
// Operators are compiled with -Ofast, and loading such a library makes the loading thread take subnormal numbers for 0 from
// then on. Which thread that is depends on timing, so the floating-point environment is put back: results must not.
#include <cfenv>
#include <mutex>

#include "op_compiler.h"
#include "ops/op_register.h"
#include "opt/tuner_manager.h"
#include "fused_op.h"
#include "op.h"

namespace jittor {
EXTERN_LIB jit_op_entry_t (*do_compile_hook)(Op*);
EXTERN_LIB vector<OpByType*> op_types;
}

namespace {

std::mutex graph;

jittor::jit_op_entry_t compile(jittor::Op* op) {
    std::unique_lock<std::mutex> lock(graph);
    jittor::OpCompiler compiler(op);
    for (auto type : jittor::op_types) type->post_pass(&compiler);
    jittor::string tuned;
    jittor::string* source = &compiler.src;
    if (compiler.op) { // a fused operator
        jittor::TunerManager tuner(&compiler);
        tuned = tuner.tune();
        source = &tuned;
    }
    op->compile_optimize(*source);
    const jittor::string key = op->get_jit_key(jittor::get_jk());
    lock.unlock();
    std::fenv_t environment;
    std::fegetenv(&environment);
    const auto entry = compiler.compile(key, *source); // g++ and dlopen
    std::fesetenv(&environment);
    return entry;
}

}

// True if installed; false where another backend has its own compile step
extern "C" bool luss_lock_op_compiler() {
    if (jittor::do_compile_hook && jittor::do_compile_hook != &compile) return false;
    jittor::do_compile_hook = &compile;
    return true;
}
