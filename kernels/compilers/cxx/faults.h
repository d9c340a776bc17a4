// An access outside of every buffer ends the launch with a message instead of the process: the thread that made it goes
// back to its scheduler from within the signal handler. Included by simulator.cpp, in whose terms it is written.
#include <signal.h>

std::atomic<int> guarded_launches{0};
struct sigaction actions_before[2];

void report_fault(int signal, siginfo_t* info, void*) {
  Worker* w = worker;
  if (!w || !w->launch->guard || !w->current || w->current->state != State::ready) {  // not a kernel's
    sigaction(signal, &actions_before[signal == SIGBUS], nullptr);
    return;
  }
  w->fault = info->si_addr;
  w->current->state = State::done;
  msl_switch(&w->current->sp, w->scheduler);
}

// While one lives, faults are reported. Launches may overlap; the first installs, the last removes.
struct FaultGuard {
  const bool active;
  explicit FaultGuard(bool wanted) : active(wanted) {
    if (!active) return;
    std::lock_guard<std::mutex> hold(lock());
    if (guarded_launches++) return;
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = report_fault;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    sigaction(SIGSEGV, &action, &actions_before[0]);
    sigaction(SIGBUS, &action, &actions_before[1]);
  }
  ~FaultGuard() {
    if (!active) return;
    std::lock_guard<std::mutex> hold(lock());
    if (--guarded_launches) return;
    sigaction(SIGSEGV, &actions_before[0], nullptr);
    sigaction(SIGBUS, &actions_before[1], nullptr);
  }
  static std::mutex& lock() {
    static std::mutex mutex;
    return mutex;
  }
};
