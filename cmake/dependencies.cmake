# Everything that comes from outside, found once. Required parts fail here by name; optional parts are reported.
find_package(Threads REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS CXX)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(ICU REQUIRED COMPONENTS uc)
find_package(PkgConfig REQUIRED)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)

# Debian's oneDNN ships a CMake package under the name dnnl.
find_package(dnnl REQUIRED CONFIG)

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

if(ALEPH_TESTS)
  find_package(GTest REQUIRED)
  enable_testing()
  include(GoogleTest)
endif()

find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()

# Options that every target of the project is compiled with.
add_library(aleph_options INTERFACE)
target_include_directories(aleph_options INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_options(aleph_options INTERFACE -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual
  -Wno-missing-field-initializers -Wno-restrict -ffp-contract=off)
target_compile_definitions(aleph_options INTERFACE $<$<BOOL:${URING_FOUND}>:ALEPH_HAVE_IO_URING=1>)
if(ALEPH_WERROR)
  target_compile_options(aleph_options INTERFACE -Werror)
endif()
if(ALEPH_SANITIZE)
  target_compile_options(aleph_options INTERFACE -fsanitize=${ALEPH_SANITIZE} -fno-omit-frame-pointer
    -fno-sanitize-recover=all)
  target_link_options(aleph_options INTERFACE -fsanitize=${ALEPH_SANITIZE})
endif()
