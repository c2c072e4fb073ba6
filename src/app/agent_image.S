// The agent's executable, carried inside this one; unpacked by instance.cc.
    .section .rodata
    .balign 16
    .global turnout_agent_image_begin
    .global turnout_agent_image_end
turnout_agent_image_begin:
    .incbin TURNOUT_AGENT_IMAGE
turnout_agent_image_end:
    .byte 0
    .section .note.GNU-stack,"",@progbits
