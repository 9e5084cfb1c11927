# Everything that comes from outside, found once. Required parts fail here by name; optional parts are reported.
find_package(Threads REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(ICU REQUIRED COMPONENTS uc)
find_package(PkgConfig REQUIRED)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)

# Debian's own CMake package of oneDNN insists on OpenCL, which nothing here uses: look for header and library.
find_path(DNNL_INCLUDE_DIR dnnl.hpp REQUIRED)
find_library(DNNL_LIBRARY dnnl REQUIRED)
add_library(DNNL::dnnl UNKNOWN IMPORTED)
set_target_properties(DNNL::dnnl PROPERTIES IMPORTED_LOCATION ${DNNL_LIBRARY}
  INTERFACE_INCLUDE_DIRECTORIES ${DNNL_INCLUDE_DIR})

set(ALEPH_URING_LIBS "")
if(ALEPH_IO_URING)
  pkg_check_modules(URING IMPORTED_TARGET liburing>=2.0)
  if(URING_FOUND)
    set(ALEPH_URING_LIBS PkgConfig::URING)
    message(STATUS "io_uring: liburing ${URING_VERSION}")
  else()
    message(STATUS "io_uring: liburing not found, asynchronous I/O uses a thread pool")
  endif()
else()
  message(STATUS "io_uring: switched off, asynchronous I/O uses a thread pool")
endif()

# Not used yet: reported so that nobody wonders.
find_package(CUDAToolkit QUIET)
if(CUDAToolkit_FOUND)
  message(STATUS "CUDA: toolkit ${CUDAToolkit_VERSION} found, this version computes on the CPU only")
else()
  message(STATUS "CUDA: not found, computing on the CPU")
endif()
find_package(MPI QUIET COMPONENTS CXX)
if(MPI_CXX_FOUND)
  message(STATUS "MPI: version ${MPI_CXX_VERSION} found, this version trains with one rank")
else()
  message(STATUS "MPI: not found, training with one rank")
endif()

if(ALEPH_TESTS)
  find_package(GTest)
  if(GTest_FOUND)
    enable_testing()
    include(GoogleTest)
  else()
    message(STATUS "tests: GoogleTest not found, left out")
    set(ALEPH_TESTS OFF)
  endif()
endif()

find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()

# Options that every target of the project is compiled with.
add_library(aleph_options INTERFACE)
target_include_directories(aleph_options INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_options(aleph_options INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual
  -Wno-missing-field-initializers $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>
  $<$<CXX_COMPILER_ID:Clang>:-Wno-psabi> $<$<CXX_COMPILER_ID:Clang>:-Wno-pass-failed> -ffp-contract=off -fno-math-errno -fno-trapping-math)
target_compile_definitions(aleph_options INTERFACE $<$<BOOL:${URING_FOUND}>:ALEPH_HAVE_IO_URING=1>)
if(ALEPH_WERROR)
  target_compile_options(aleph_options INTERFACE -Werror)
endif()
# g++ sees uninitialized values in instrumented code that are none.
if(ALEPH_SANITIZE)
  target_compile_options(aleph_options INTERFACE -fsanitize=${ALEPH_SANITIZE} -fno-omit-frame-pointer
    -fno-sanitize-recover=all $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
  target_link_options(aleph_options INTERFACE -fsanitize=${ALEPH_SANITIZE})
endif()
