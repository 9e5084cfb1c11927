#include "aleph/comm/communicator.h"
