// The device "mps" on a machine without one: memory is the CPU's, every operator is the CPU's, what MPS refuses is
// refused in MPS's words. Built and loaded by __init__.py, which says what is imitated and what is not.
#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/detail/MPSHooksInterface.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <pthread.h>
#include <torch/library.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <unordered_set>

namespace like_mps {

using c10::Device;
using c10::DeviceType;
using c10::DispatchKey;
using c10::DispatchKeySet;
using c10::IValue;

const Device CPU(DeviceType::CPU);
const Device MPS(DeviceType::MPS, 0);

// --- What torch asks of a device --------------------------------------------------------------------------------------

struct Allocator final : c10::Allocator {
  c10::DataPtr allocate(size_t size) override {
    c10::DataPtr data = c10::GetCPUAllocator()->allocate(size);
    data.unsafe_set_device(MPS);
    return data;
  }
  c10::DeleterFnPtr raw_deleter() const override { return c10::GetCPUAllocator()->raw_deleter(); }
  void copy_data(void* to, const void* from, std::size_t size) const override { default_copy_data(to, from, size); }
};

Allocator allocator;
REGISTER_ALLOCATOR(DeviceType::MPS, &allocator);

struct Guard final : c10::impl::DeviceGuardImplInterface {
  DeviceType type() const override { return DeviceType::MPS; }
  Device exchangeDevice(Device) const override { return MPS; }
  Device getDevice() const override { return MPS; }
  void setDevice(Device) const override {}
  void uncheckedSetDevice(Device) const noexcept override {}
  c10::Stream getStream(Device) const noexcept override { return c10::Stream(c10::Stream::DEFAULT, MPS); }
  c10::Stream getDefaultStream(Device) const override { return c10::Stream(c10::Stream::DEFAULT, MPS); }
  c10::Stream exchangeStream(c10::Stream) const noexcept override { return c10::Stream(c10::Stream::DEFAULT, MPS); }
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
};

C10_REGISTER_GUARD_IMPL(MPS, Guard);

// The CPU's random numbers, of a generator that says "mps" but while a kernel of the CPU uses it.
struct Generator final : at::CPUGeneratorImpl {
  explicit Generator(uint64_t seed) : at::CPUGeneratorImpl(seed) { device_ = MPS; }
  void move(Device device) { device_ = device; }
};

const at::Generator& default_generator() {
  static at::Generator generator = at::make_generator<Generator>(c10::default_rng_seed_val);
  return generator;
}

struct Hooks final : at::MPSHooksInterface {
  Hooks() = default;
  explicit Hooks(at::MPSHooksArgs) {}  // before torch 2.13
  void init() const override {}
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasMPS() const override { return true; }
  bool isOnMacOSorNewer(unsigned major, unsigned) const override { return major <= 15; }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex) const override { return default_generator(); }
  at::Generator getNewGenerator(c10::DeviceIndex) const override {
    return at::make_generator<Generator>(c10::default_rng_seed_val);
  }
  c10::Allocator* getMPSDeviceAllocator() const override { return &allocator; }
  void deviceSynchronize() const override {}
  void emptyCache() const override {}
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
};

// --- What breaks on a Mac ---------------------------------------------------------------------------------------------

std::atomic<int> at_once{0}, works{0};
std::atomic<bool> forked{false};
std::atomic<pthread_t> owner{};
thread_local int depth = 0;
thread_local bool of_python = false;  // a thread that Python code has started

// Where torch works on MPS. Two threads in such a place at once crash torch; a child forked after one hangs in the next.
struct Working {
  Working() {
    TORCH_CHECK(!forked, "like-mps: work on MPS in a child that was forked after work on MPS (pytorch#178037)");
    pthread_t nobody{};
    if (!depth && !owner.compare_exchange_strong(nobody, pthread_self())) {
      ++at_once;
      TORCH_CHECK(false, "like-mps: two threads work on MPS at once (pytorch#197805)");
    }
    ++depth;
    ++works;
    // Two such threads that do not wait for one another shall meet here, not by chance alone.
    if (depth == 1 && of_python) std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  ~Working() {
    if (!--depth) owner = pthread_t{};
  }
};

void refuse(c10::ScalarType type) {
  TORCH_CHECK_TYPE(
      type != c10::ScalarType::Double,
      "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64. Please use float32 "
      "instead.");
  TORCH_CHECK_TYPE(
      type != c10::ScalarType::ComplexDouble,
      "Trying to convert ComplexDouble to the MPS backend but it does not have support for that dtype.");
}

// --- From one device to the other -------------------------------------------------------------------------------------

bool is_mps(const at::Tensor& tensor) { return tensor.defined() && tensor.device().type() == DeviceType::MPS; }

void move(const c10::Storage& storage, Device device) {
  c10::StorageImpl* memory = storage.unsafeGetStorageImpl();
  memory->_mutable_data_ptr_no_checks().unsafe_set_device(device);
  memory->set_allocator(device == MPS ? static_cast<c10::Allocator*>(&allocator) : c10::GetCPUAllocator());
}

// The same memory, seen by another device: that of its storage. Everything else about it stays as it is.
at::Tensor twin(const at::Tensor& tensor, c10::BackendComponent from, c10::BackendComponent to) {
  const DispatchKeySet keys = tensor.key_set().remove_backend(from) | DispatchKeySet(to);
  at::Tensor made = at::detail::make_tensor<c10::TensorImpl>(
      c10::TensorImpl::VIEW, c10::Storage(tensor.storage()), keys, tensor.dtype());
  made.unsafeGetTensorImpl()->set_sizes_and_strides(tensor.sizes(), tensor.strides(), tensor.storage_offset());
  return made;
}

at::Tensor on_mps(const at::Tensor& tensor) {
  if (!tensor._is_zerotensor()) refuse(tensor.scalar_type());
  move(tensor.storage(), MPS);
  return twin(tensor, c10::BackendComponent::CPUBit, c10::BackendComponent::MPSBit);
}

// While it lasts, its tensors' memory is the CPU's.
class OnCpu {
 public:
  at::Tensor operator()(const at::Tensor& tensor) {
    for (const auto& [theirs, ours] : pairs_)
      if (theirs.is_same(tensor)) return ours;
    move(tensor.storage(), CPU);
    pairs_.emplace_back(tensor, twin(tensor, c10::BackendComponent::MPSBit, c10::BackendComponent::CPUBit));
    return pairs_.back().second;
  }
  void take(const c10::Storage& storage) {
    move(storage, CPU);
    storages_.push_back(storage);
  }
  // An operator may have resized a tensor or given it other memory.
  void hand_back() {
    for (auto& [theirs, ours] : pairs_) {
      c10::TensorImpl* impl = theirs.unsafeGetTensorImpl();
      if (!theirs.storage().is_alias_of(ours.storage())) {
        move(theirs.storage(), MPS);
        move(ours.storage(), MPS);
        impl->set_storage_keep_dtype(ours.storage());
      }
      if (theirs.sizes() != ours.sizes() || theirs.strides() != ours.strides() ||
          theirs.storage_offset() != ours.storage_offset())
        impl->set_sizes_and_strides(ours.sizes(), ours.strides(), ours.storage_offset());
    }
  }
  at::Tensor result(const at::Tensor& tensor) const {
    if (!tensor.defined()) return tensor;
    for (const auto& [theirs, ours] : pairs_)
      if (ours.is_same(tensor)) return theirs;
    return on_mps(tensor);
  }
  ~OnCpu() {
    for (auto& [theirs, ours] : pairs_) {
      move(theirs.storage(), MPS);
      move(ours.storage(), MPS);
    }
    for (const c10::Storage& storage : storages_) move(storage, MPS);
  }

 private:
  std::vector<c10::Storage> storages_;
  std::vector<std::pair<at::Tensor, at::Tensor>> pairs_;
};

// --- Operators --------------------------------------------------------------------------------------------------------

// Those for which the installed torch has something on MPS.
const std::unordered_set<std::string>& known_operators() {
  static const std::unordered_set<std::string> names{
#include "operators.h"
  };
  return names;
}

std::string full_name(const c10::OperatorHandle& op) {
  const auto& name = op.schema().operator_name();
  return name.overload_name.empty() ? name.name : name.name + "." + name.overload_name;
}

at::Tensor argument(OnCpu& on_cpu, const at::Tensor& tensor, const c10::FunctionSchema& schema) {
  if (is_mps(tensor)) return on_cpu(tensor);
  const bool may_be_elsewhere = schema.name().find("index") != std::string::npos;  // indices are moved by torch
  TORCH_CHECK(
      !tensor.defined() || tensor.dim() == 0 || !tensor.device().is_cpu() || may_be_elsewhere,
      "Expected all tensors to be on the same device, but found at least two devices, mps:0 and cpu!");
  return tensor;
}

void run(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  Working working;
  const auto& schema = op.schema();
  TORCH_CHECK_NOT_IMPLEMENTED(
      known_operators().count(full_name(op)), "The operator '", schema.operator_name(),
      "' is not currently implemented for the MPS device. (like-mps)");
  const size_t count = schema.arguments().size(), returns = schema.returns().size(), first = stack->size() - count;
  std::vector<Generator*> generators;
  {
    OnCpu on_cpu;
    for (size_t i = 0; i < count; ++i) {
      IValue& value = (*stack)[first + i];
      if (value.isTensor()) {
        value = argument(on_cpu, value.toTensor(), schema);
      } else if (value.isTensorList()) {
        std::vector<at::Tensor> list;
        for (const at::Tensor& tensor : value.toTensorVector()) list.push_back(argument(on_cpu, tensor, schema));
        value = list;
      } else if (value.isOptionalTensorList()) {
        c10::List<std::optional<at::Tensor>> list;
        for (std::optional<at::Tensor> tensor : value.toOptionalTensorList())
          list.push_back(tensor ? std::make_optional(argument(on_cpu, *tensor, schema)) : tensor);
        value = list;
      } else if (value.isStorage() && value.toStorage().device() == MPS) {
        on_cpu.take(value.toStorage());
      } else if (value.isDevice() && value.toDevice().type() == DeviceType::MPS) {
        value = CPU;
      } else if (schema.arguments()[i].name() == "generator") {
        if (value.isNone()) value = default_generator();
        const at::Generator generator = value.toGenerator();
        TORCH_CHECK(
            generator.device().type() == DeviceType::MPS, "Expected a 'mps' device type for generator but found '",
            generator.device().type(), "'");
        generators.push_back(static_cast<Generator*>(generator.unsafeGetGeneratorImpl()));
      }
    }
    at::AutoDispatchBelowADInplaceOrView below;
    for (Generator* generator : generators) generator->move(CPU);
    try {
      op.redispatchBoxed(DispatchKeySet(DispatchKey::CPU), stack);
    } catch (...) {
      for (Generator* generator : generators) generator->move(MPS);
      throw;
    }
    for (Generator* generator : generators) generator->move(MPS);
    on_cpu.hand_back();
    for (size_t i = stack->size() - returns; i < stack->size(); ++i) {
      IValue& value = (*stack)[i];
      if (value.isTensor()) {
        value = on_cpu.result(value.toTensor());
      } else if (value.isTensorList()) {
        std::vector<at::Tensor> list;
        for (const at::Tensor& tensor : value.toTensorVector()) list.push_back(on_cpu.result(tensor));
        value = list;
      }
    }
  }
}

at::Tensor empty(
    c10::SymIntArrayRef size, std::optional<c10::ScalarType> dtype, std::optional<c10::Layout>, std::optional<Device>,
    std::optional<bool>, std::optional<c10::MemoryFormat> format) {
  Working working;
  refuse(c10::dtype_or_default(dtype));
  return at::detail::empty_generic(
      C10_AS_INTARRAYREF_SLOW(size), &allocator, DispatchKeySet(DispatchKey::MPS), c10::dtype_or_default(dtype), format);
}

at::Tensor empty_strided(
    c10::SymIntArrayRef size, c10::SymIntArrayRef stride, std::optional<c10::ScalarType> dtype,
    std::optional<c10::Layout>, std::optional<Device>, std::optional<bool>) {
  Working working;
  refuse(c10::dtype_or_default(dtype));
  return at::detail::empty_strided_generic(
      C10_AS_INTARRAYREF_SLOW(size), C10_AS_INTARRAYREF_SLOW(stride), &allocator, DispatchKeySet(DispatchKey::MPS),
      c10::dtype_or_default(dtype));
}

at::Tensor& copy_(at::Tensor& to, const at::Tensor& from, bool) {
  Working working;
  OnCpu on_cpu;
  const at::Tensor source = is_mps(from) ? on_cpu(from) : from;
  at::Tensor target = is_mps(to) ? on_cpu(to) : to;
  at::AutoDispatchBelowADInplaceOrView below;
  target.copy_(source);
  return to;
}

// torch chooses MPS's convolution where it is built with one, and these two otherwise.
at::Tensor convolution(
    const at::Tensor& input, const at::Tensor& weight, const std::optional<at::Tensor>& bias,
    c10::SymIntArrayRef stride, c10::SymIntArrayRef padding, c10::SymIntArrayRef dilation, bool transposed,
    c10::SymIntArrayRef output_padding, c10::SymInt groups) {
  Working working;
  OnCpu on_cpu;
  const auto ours = bias && bias->defined() ? std::make_optional(on_cpu(*bias)) : std::nullopt;
  at::AutoDispatchBelowADInplaceOrView below;
  return on_cpu.result(at::convolution_symint(
      on_cpu(input), on_cpu(weight), ours, stride, padding, dilation, transposed, output_padding, groups));
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> convolution_backward(
    const at::Tensor& gradient, const at::Tensor& input, const at::Tensor& weight, c10::SymIntArrayRef stride,
    c10::SymIntArrayRef padding, c10::SymIntArrayRef dilation, bool transposed, c10::SymIntArrayRef output_padding,
    c10::SymInt groups, std::array<bool, 3> wanted) {
  Working working;
  OnCpu on_cpu;
  at::AutoDispatchBelowADInplaceOrView below;
  const std::vector<c10::SymInt> bias{weight.sym_size(transposed ? 1 : 0) * (transposed ? groups : c10::SymInt(1))};
  const auto [a, b, c] = at::convolution_backward_symint(
      on_cpu(gradient), on_cpu(input), on_cpu(weight), c10::SymIntArrayRef(bias), stride, padding, dilation, transposed,
      output_padding, groups, wanted);
  return {on_cpu.result(a), on_cpu.result(b), on_cpu.result(c)};
}

// For the kernels of the simulator, which take the CPU's tensors.
at::Tensor as_cpu(const at::Tensor& tensor) {
  OnCpu on_cpu;
  return on_cpu(tensor);
}

TORCH_LIBRARY_IMPL(_, MPS, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&run>()); }
TORCH_LIBRARY_IMPL(aten, MPS, m) {
  m.impl("empty.memory_format", empty);
  m.impl("empty_strided", empty_strided);
  m.impl("copy_", copy_);
  m.impl("convolution_overrideable", convolution);
  m.impl("convolution_backward_overrideable", convolution_backward);
}
TORCH_LIBRARY(like_mps, m) {
  m.def("as_cpu(Tensor tensor) -> Tensor");
  m.def("default_generator() -> Generator?", [] { return default_generator(); });
}
TORCH_LIBRARY_IMPL(like_mps, MPS, m) { m.impl("as_cpu", as_cpu); }

void forget_in_child() { forked = works > 0; }
const int watches_forks = pthread_atfork(nullptr, nullptr, forget_in_child);

}  // namespace like_mps

namespace at {
C10_REGISTER_TYPED_CLASS(MPSHooksRegistry, "MPSHooks", like_mps::Hooks);
}

extern "C" {
// How often two threads have worked on MPS at once.
int like_mps_at_once() { return like_mps::at_once; }
// How often torch or a kernel has worked on MPS.
int like_mps_works() { return like_mps::works; }
// What a thread says of itself that Python code has started.
void like_mps_python_thread() { like_mps::of_python = true; }
// Around a launch: 0, or 1 where another thread works on MPS, or 2 in a child forked after work on MPS.
int like_mps_begin() {
  try {
    new like_mps::Working();
    return 0;
  } catch (const c10::Error&) {
    return like_mps::forked ? 2 : 1;
  }
}
void like_mps_end() {
  if (!--like_mps::depth) like_mps::owner = pthread_t{};
}
}
