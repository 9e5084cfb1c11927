// The threads of parallel loops, before they are needed.
#pragma once

namespace aleph {

/// Starts the threads that parallel loops of this thread run on. Throws Error where the system refuses one:
/// later the OpenMP runtime would end the process itself. Programs call it after set_num_threads.
void start_threads();

}  // namespace aleph
